"""What OUTPUT means: a file, a folder that is there, or one that will be made."""

import os
import shlex
from pathlib import PurePath

from dropcli.dataset.discover import TENSOR_SUFFIXES
from dropcli.errors import UsageError
from dropcli.files import STDOUT, goes_to_stdout, is_folder, is_piped

_PICTURES = "`-o x.safetensors` writes tensors, which other tools turn into pictures"
_REPORT = "`--stats {}` writes the statistics; tensors go to .safetensors or .pt"
_TENSORS = "write to a name that ends in .safetensors or .pt, and convert that"
_FOREIGN = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif"), _PICTURES),
    **dict.fromkeys((".json", ".jsonl", ".csv"), _REPORT),
    **dict.fromkeys((".npy", ".npz", ".h5", ".hdf5", ".parquet", ".zip"), _TENSORS),
    **dict.fromkeys((".txt", ".html", ".md"), _TENSORS),
}


def is_made_folder(output: str) -> bool:
    """Whether the path says that it is a folder, which is made if it is not there."""
    return output.endswith(os.sep)


def check_suffix(output: str) -> None:
    """UsageError for the suffix of a format that is not written, as `.npz`."""
    suffix = PurePath(output).suffix.lower()
    if suffix in _FOREIGN and not is_folder(output):
        raise UsageError(
            "foreign-suffix",
            f"-o: '{output}' would hold tensors, which {suffix} files do not",
            _FOREIGN[suffix].format(shlex.quote(output)),
        )


def file_target(source: str, output: str) -> str:
    """Where the output of a single input goes; in a folder it keeps the input's name, as with `cp`.

    Raises:
        UsageError: the path does not say which file is meant.
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
    if not PurePath(output).suffix and not os.path.lexists(output):
        suffix = PurePath(source).suffix
        file = output + (suffix if suffix in TENSOR_SUFFIXES else ".pt")
        raise UsageError(
            "no-suffix",
            f"-o: '{output}' has no suffix, so it could be a file or a folder",
            f"write {shlex.quote(output + os.sep)} for a folder, or {shlex.quote(file)} for a file",
        )
    return output


def check_folder(output: str, *, copies: bool) -> None:
    """UsageError if this is no folder for several files, and cannot become one."""
    if goes_to_stdout(output):
        raise UsageError("several-on-stdout", "-o: expected a folder for several files, got '-'")
    if is_folder(output) or (is_made_folder(output) and not os.path.lexists(output.rstrip(os.sep))):
        return
    check_suffix(output)
    if os.path.lexists(output) or PurePath(output).suffix.lower() in TENSOR_SUFFIXES:
        hint = "--concat writes all copies into one file" if copies else None
        raise UsageError(
            "not-a-folder", f"-o: expected a folder for several files, got '{output}'", hint
        )
