"""Verify one output against its provenance."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

from dropcli.dataset.outputs import is_name_of, name_of_original
from dropcli.dataset.verify.comparison import Comparison, Difference, Write
from dropcli.dataset.walk import TENSOR_SUFFIXES, Input
from dropcli.errors import DropcliError, FileError, FormatError, located
from dropcli.files import is_file, is_folder, open_reader
from dropcli.formats import Source, open_source
from dropcli.pipeline import BytesProgress, Job, Writing, copies_from, derive_file, read_entry
from dropcli.tensors import TensorInfo

_BLOCK = 1 << 20
_PROVENANCE = "dropcli"  # in the metadata of a safetensors file


class Verdict(NamedTuple):
    """The result for one output."""

    output: str
    source: str | None = None
    stream: str | None = None
    copy: int | None = None
    nbytes: int = 0
    difference: Difference | None = None
    error: DropcliError | None = None

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        return {
            "output": self.output,
            "source": self.source,
            "stream": self.stream,
            "copy": self.copy,
            "bytes": self.nbytes,
            "status": "different" if self.difference else "same",
            "difference": self.difference and self.difference._asdict(),
        }


def verify_file(
    item: Input, source: str, mirrored: bool, on_bytes: Callable[[int], None]
) -> Verdict:
    """Whether an output is what its provenance says, made from `source`.

    `source` is the file from which it was made, or the folder. If `mirrored`, the output should
    have the name of its source. Raises DropcliError if the output cannot be verified.
    """
    with located(item.path), closing(open_reader(item.path)) as reader:
        if not reader.seekable:
            raise FileError("not-a-file", "is a pipe or a device, not a file")
        size = reader.size or 0
        if original := _original(item, source):
            copy = partial(_copy, original, on_bytes)
            if not Comparison(reader).difference(copy):
                return Verdict(item.path, original, copy=0, nbytes=size)
        try:
            with closing(open_source(item.path)) as opened:
                entries, tensors, name = opened.provenance, opened.tensors, _name(opened)
                metadata = opened.metadata
        except FormatError as error:
            found = Difference(None, None, f"cannot be read: {error.message}")
            return Verdict(item.path, None, nbytes=size, difference=found)
        if not entries:
            raise FormatError(
                "no-provenance",
                "no provenance is recorded, so nothing can be verified",
                "it was written with --no-provenance, or not by dropcli",
            )
        entry = read_entry(entries[-1])[1]
        stream, copy_number = entry["stream"], entry["copy"]
        made_from = _source_of(item, stream, source)
        verdict = Verdict(item.path, made_from, stream, copy_number, size)
        if mirrored and not _is_called(item, stream, copy_number):
            what = f"copy {copy_number} of '{stream}'" if copy_number else f"'{stream}'"
            other_name = f"its provenance says that it is {what}, which has another name"
            return verdict._replace(difference=Difference(None, None, other_name))
        import tempfile  # takes 5 ms to import, which short runs of `apply` should not pay

        with tempfile.TemporaryDirectory() as between:
            derive = partial(_derive, made_from, name, entries, between, on_bytes)
            difference = Comparison(reader).difference(derive, tensors)
        if difference and difference.tensor is None and not copies_from(entry):
            difference = _explained(difference, made_from, name, tensors, metadata, entries)
        return verdict._replace(difference=difference)


def _derive(
    source: str,
    name: str,
    entries: list[Any],
    between: str,
    on_bytes: Callable[[int], None],
    write: Write,
) -> None:
    """Apply the entries of `entries` that `source` lacks, with temporary files in `between`."""
    missing = entries[len(_provenance(source)) :] or entries[-1:]
    for number, recorded in enumerate(missing):
        dropout, entry = read_entry(recorded)
        mask = "mask" in entry
        writing = Writing(concat=copies_from(entry), mask=mask, statistics=False)
        if number == len(missing) - 1:
            job = Job(source, name, entry["stream"], entry["copy"], writing)
            derive_file(job, dropout, entry, write, BytesProgress(on_bytes))
        else:
            step = os.path.join(between, str(number))
            job = Job(source, step, entry["stream"], entry["copy"], writing)
            with open(step, "wb") as file:
                put: Write = file.write  # type: ignore[assignment]
                derive_file(job, dropout, entry, put, BytesProgress(lambda _: None))
            source = step


def _provenance(source: str) -> list[Any]:
    with located(source), closing(open_source(source)) as opened:
        return opened.provenance or []


def _explained(
    difference: Difference,
    source: str,
    name: str,
    tensors: Sequence[TensorInfo],
    metadata: dict[str, str],
    entries: list[Any],
) -> Difference:
    """The same difference, explained by the headers if they differ."""
    with located(source), closing(open_source(source)) as opened:
        root, before = opened.root, opened.provenance or []
        mask = "mask" in entries[-1]
        reason = None if mask else _difference_of_tensors(tensors, opened.tensors)
        if not reason and not opened.root and name == "x.safetensors":
            reason = _difference_of_metadata(metadata, opened.metadata)
    if not reason and before != entries[: len(before)]:
        reason = "the recorded applications do not begin with those of the source"
    if not reason and root and name not in ("x.safetensors", f"{root}.pt"):
        reason = f"its members lie in '{name[:-3]}/', those of the source in '{root}/'"
    if not reason:
        return difference
    return difference._replace(message=f"byte {difference.byte:,}: {reason}")


def _difference_of_tensors(ours: Sequence[TensorInfo], theirs: Sequence[TensorInfo]) -> str | None:
    here, there = ({tensor.name: tensor for tensor in tensors} for tensors in (ours, theirs))
    for name in [*here, *there]:
        if name not in there:
            return f"tensor '{name}' is not in the source"
        if name not in here:
            return f"tensor '{name}' of the source is not in it"
        if _kind(here[name]) != _kind(there[name]):
            return f"tensor '{name}' is {_kind(here[name])}, from the source {_kind(there[name])}"
    return None


def _difference_of_metadata(ours: dict[str, str], theirs: dict[str, str]) -> str | None:
    for key in [*ours, *theirs]:
        if key != _PROVENANCE and ours.get(key) != theirs.get(key):
            return f"'{key}' in the metadata is not as in the source"
    return None


def _kind(tensor: TensorInfo) -> str:
    return f"{tensor.dtype.name} {list(tensor.shape)}"


def _name(output: Source) -> str:
    """A name that the output had. It may determine the format, and is the name of an archive."""
    return f"{output.root}.pt" if output.root else "x.safetensors"


def _copy(source: str, on_bytes: Callable[[int], None], write: Write) -> None:
    with located(source), closing(open_reader(source)) as reader:
        size = reader.size or 0
        for start in range(0, size, _BLOCK):
            data = reader.read(start, min(_BLOCK, size - start))
            write(data)
            on_bytes(len(data))


def _original(item: Input, source: str) -> str | None:
    """The source of a file that may be an unchanged copy, which has no provenance."""
    name = name_of_original(item.name)
    if name is None:
        return None
    path = os.path.join(source, name) if is_folder(source) else source
    return path if is_file(path) else None


def _is_called(item: Input, stream: str, copy: int) -> bool:
    """Whether an output has the name that a dataset run would give it."""
    if not is_name_of(item.stream, stream, copy):
        return False
    # For a folder inside the output folder, only the end of the path matches.
    folder, above = os.path.dirname(os.path.abspath(item.path)), os.path.dirname(stream)
    return item.stream.count("/") == stream.count("/") or folder.endswith(f"/{above}")


def _source_of(item: Input, stream: str, source: str) -> str:
    """The file from which an output was made; in a folder, the file that its stream names."""
    if not is_folder(source):
        return source
    suffix = PurePath(item.path).suffix
    below = PurePath(stream)  # the recorded stream must not lead out of the folder
    for candidate in (suffix, *TENSOR_SUFFIXES):
        path = os.path.join(source, stream.replace("/", os.sep) + candidate)
        if is_file(path) and not below.is_absolute() and ".." not in below.parts:
            return path
    raise FileError(
        "no-source",
        f"its source is not in '{source}'",  # without its name, so that many are one message
        "use --source to name the file or folder that it was made from",
    )
