"""Names of outputs: the meaning of OUTPUT, the names of copies, and the reverse."""

import difflib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from dropcli.dataset.walk import TENSOR_SUFFIXES
from dropcli.errors import UsageError
from dropcli.files import STDOUT, exists, goes_to_stdout, is_folder, is_made_folder, is_piped

_PICTURES = "`dropcli preview INPUT -o sheet.png` writes pictures"
_REPORT = "`--stats {0}` writes the statistics; tensors go to .safetensors or .pt"
_TENSORS = "write to a name that ends in .safetensors or .pt, and convert that"
_PLAIN = "outputs are not compressed: write {1}, and compress that"
_FOREIGN = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif"), _PICTURES),
    **dict.fromkeys((".json", ".jsonl", ".csv"), _REPORT),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".parquet", ".zip"), _TENSORS),
    **dict.fromkeys((".txt", ".html", ".md"), _TENSORS),
    **dict.fromkeys((".gz", ".xz", ".bz2", ".zst"), _PLAIN),
}

_INPUTS_SHOWN = 4
_ALIKE = 0.85  # the similarity of .safetensor and .safetensors is above this
_ORIGINAL = re.compile(r"(?P<root>.+)\.0+(?P<suffix>\.[^./]+)", re.DOTALL)


def check_suffix(output: str) -> None:
    """Raise UsageError for the suffix of a format that cannot be written, such as `.npz`."""
    suffix = PurePath(output).suffix.lower()
    if suffix in _FOREIGN and not is_folder(output):
        raise UsageError(
            "foreign-suffix",
            f"-o: '{output}': a {suffix} file cannot hold tensors from dropcli",
            _FOREIGN[suffix].format(shlex.quote(output), shlex.quote(os.path.splitext(output)[0])),
        )
    near = difflib.get_close_matches(suffix, [".safetensors"], 1, _ALIKE)
    if near and near[0] != suffix and not os.path.lexists(output):
        hint = f"did you mean {shlex.quote(os.path.splitext(output)[0] + near[0])}?"
        raise UsageError("foreign-suffix", f"-o: '{output}': {suffix} is not a known suffix", hint)


def file_target(source: str, output: str) -> str:
    """The output path of a single input; in a folder it keeps the input's name, as with `cp`.

    Raises:
        UsageError: the path could be a file or a folder.
    """
    if output == STDOUT or goes_to_stdout(output):
        return output
    if is_made_folder(output) or is_folder(output):
        if is_piped(source):
            raise UsageError(
                "no-name",
                f"-o: the input is a pipe and has no name to keep in the folder '{output}'",
                f"name the file, as in -o {shlex.quote(os.path.join(output, 'x.safetensors'))}",
            )
        return os.path.join(output, os.path.basename(source))
    check_suffix(output)
    if not PurePath(output).suffix and not exists(output):
        suffix = PurePath(source).suffix
        file = output + (suffix if suffix in TENSOR_SUFFIXES else ".pt")
        raise UsageError(
            "no-suffix",
            f"-o: '{output}' has no suffix, so it could be a file or a folder",
            f"write {shlex.quote(output + os.sep)} for a folder, or {shlex.quote(file)} for a file",
        )
    return output


def check_folder(output: str, inputs: Sequence[str], *, copies: bool) -> None:
    """Raise UsageError if `output` is no folder for several files and cannot become one."""
    if goes_to_stdout(output):
        raise UsageError("several-on-stdout", "-o: several files need a folder, not '-'")
    if is_folder(output) or (is_made_folder(output) and not exists(output.rstrip(os.sep))):
        return
    check_suffix(output)
    there = exists(output)
    if not there and PurePath(output).suffix.lower() not in TENSOR_SUFFIXES:
        return
    message = f"-o: '{output}' is one file, but several files need a folder"
    hint = f"write -o {shlex.quote(os.path.splitext(output)[0] + os.sep)} for a folder"
    missing = [path for path in inputs if not exists(path)]
    if copies:
        hint = "--concat writes all copies into one file"
    elif missing and len(inputs) > 1:
        shown = [f"'{path}'" + " (no such file)" * (path in missing) for path in inputs]
        more = ", ..." if len(shown) > _INPUTS_SHOWN else ""
        message += f"; the inputs are {', '.join(shown[:_INPUTS_SHOWN])}{more}"
        hint = f"leave out '{missing[0]}'; each pattern needs its option, as in -k a -k b"
    raise UsageError("not-a-folder", message, hint)


def copy_name(name: str, copy: int, last: int) -> str:
    """The name of a copy, with as many digits as the last one: `x.01.pt` to `x.12.pt`."""
    root, suffix = os.path.splitext(name)
    return f"{root}.{copy:0{len(str(last))}}{suffix}"


def name_of_original(name: str) -> str | None:
    """The name of the file whose copy 0 has this name; None if this is no name of a copy 0."""
    found = _ORIGINAL.fullmatch(name)
    return found["root"] + found["suffix"] if found else None


def is_name_of(stem: str, stream: str, copy: int) -> bool:
    """Whether `stem`, the name of an output without its suffix, is that of this copy.

    Below the folder of outputs, the name may be only the end of the stream.
    """
    if copy:
        stem, _, number = stem.rpartition(".")
        if not (number.isdecimal() and int(number) == copy):
            return False
    return stem == stream or stream.endswith(f"/{stem}")
