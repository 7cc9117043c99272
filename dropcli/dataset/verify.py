"""Derive outputs again from their provenance and their sources, and compare bytes."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dropcli.dataset.discover import TENSOR_SUFFIXES, Input, discover
from dropcli.dataset.outputs import is_name_of, name_of_original
from dropcli.dataset.tasks import attempt, worker_died
from dropcli.dataset.urls import check_local
from dropcli.errors import DropcliError, FileError, FormatError, Interrupted, UsageError, located
from dropcli.files import Reader, is_file, is_folder
from dropcli.formats import Source, open_source
from dropcli.parallel import choose_engine
from dropcli.pipeline import (
    BytesProgress,
    Job,
    Progress,
    Writing,
    copies_from,
    derive_file,
    read_entry,
)
from dropcli.tensors import TensorInfo

_BLOCK = 1 << 20
_CHUNK = 16  # files that a worker takes at a time

Write: TypeAlias = Callable[[bytes | memoryview], None]


class Difference(NamedTuple):
    """The first byte that differs, None where the output cannot even be read."""

    byte: int | None
    tensor: str | None
    message: str


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


class _Differs(Exception):
    """Ends the comparison."""

    def __init__(self, byte: int) -> None:
        self.byte = byte


class _Comparison:
    """Takes bytes as an output file would, and compares them with one that is there."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._size = reader.size or 0
        self._position = 0

    def write(self, data: bytes | memoryview) -> None:
        """The bytes that should come next."""
        left = self._size - self._position
        there = self._reader.read(self._position, min(len(data), left))
        if there != data:
            found, derived = np.frombuffer(there, np.uint8), np.frombuffer(data, np.uint8)
            differing = found != derived[: len(found)]
            first = int(differing.argmax()) if differing.any() else len(found)
            raise _Differs(self._position + first)
        self._position += len(data)

    def difference(
        self, derive: Callable[[Write], None], tensors: Sequence[TensorInfo] = ()
    ) -> Difference | None:
        """The first byte that is not as `derive` writes it."""
        try:
            derive(self.write)
        except _Differs as found:
            byte = found.byte
        else:
            byte = self._position
            if byte == self._size:
                return None
        inside = (t.name for t in tensors if t.offset <= byte < t.offset + t.nbytes)
        tensor = next(inside, None)
        where = f"in tensor '{tensor}'" if tensor else "outside the tensors"
        what = "the file ends" if byte >= self._size else f"the first difference, {where}"
        return Difference(byte, tensor, f"byte {byte:,}: {what}")


def _verify_file(
    item: Input, source: str, mirrored: bool, on_bytes: Callable[[int], None]
) -> Verdict:
    """Whether an output is what its provenance says it is, made from `source`.

    `source` is the file it was made from, or the folder; if `mirrored`, the output should have the
    name of its source. DropcliError where that cannot be found out.
    """
    with located(item.path), closing(Reader(item.path)) as reader:
        if not reader.seekable:
            raise FileError("not-a-file", "is a pipe or a device, not a file")
        size = reader.size or 0
        if original := _original(item, source):
            copy = partial(_copy, original, on_bytes)
            if not _Comparison(reader).difference(copy):
                return Verdict(item.path, original, copy=0, nbytes=size)
        try:
            with closing(open_source(item.path)) as opened:
                entries, tensors, name = opened.provenance, opened.tensors, _name(opened)
        except FormatError as error:
            found = Difference(None, None, f"cannot be read: {error.message}")
            return Verdict(item.path, None, nbytes=size, difference=found)
        if not entries:
            raise FormatError(
                "no-provenance",
                "no provenance is recorded, so nothing can be verified",
                "it was written with --no-provenance, or not by dropcli",
            )
        dropout, entry = read_entry(entries[-1])
        stream, copy_number = entry["stream"], entry["copy"]
        made_from = _source_of(item, stream, source)
        verdict = Verdict(item.path, made_from, stream, copy_number, size)
        if mirrored and not _is_called(item, stream, copy_number):
            what = f"copy {copy_number} of '{stream}'" if copy_number else f"'{stream}'"
            other_name = f"its provenance says that it is {what}, which has another name"
            return verdict._replace(difference=Difference(None, None, other_name))
        writing = Writing(concat=copies_from(entry), statistics=False)
        job = Job(made_from, name, stream, copy_number, writing)

        def derive(write: Write) -> None:
            derive_file(job, dropout, entry, write, BytesProgress(on_bytes))

        return verdict._replace(difference=_Comparison(reader).difference(derive, tensors))


def _name(output: Source) -> str:
    """A name that an output had; it may decide on a conversion, and is that of an archive."""
    return f"{output.root}.pt" if output.root else "x.safetensors"


def _copy(source: str, on_bytes: Callable[[int], None], write: Write) -> None:
    with located(source), closing(Reader(source)) as reader:
        size = reader.size or 0
        for start in range(0, size, _BLOCK):
            data = reader.read(start, min(_BLOCK, size - start))
            write(data)
            on_bytes(len(data))


def _original(item: Input, source: str) -> str | None:
    """The source of what may be an untouched copy, which has no provenance of its own."""
    name = name_of_original(item.name)
    if name is None:
        return None
    path = os.path.join(source, name) if is_folder(source) else source
    return path if is_file(path) else None


def _is_called(item: Input, stream: str, copy: int) -> bool:
    """Whether an output has the name that a dataset's run gives it."""
    if not is_name_of(item.stream, stream, copy):
        return False
    # A folder inside the one that was written is placed by its own path.
    folder, above = os.path.dirname(os.path.abspath(item.path)), os.path.dirname(stream)
    return item.stream.count("/") == stream.count("/") or folder.endswith(f"/{above}")


def _source_of(item: Input, stream: str, source: str) -> str:
    """The file that an output was made from: in a folder, the one that its stream names."""
    if not is_folder(source):
        return source
    suffix = PurePath(item.path).suffix
    below = PurePath(stream)  # what a file says must not lead out of the folder
    for candidate in (suffix, *TENSOR_SUFFIXES):
        path = os.path.join(source, stream.replace("/", os.sep) + candidate)
        if is_file(path) and not below.is_absolute() and ".." not in below.parts:
            return path
    raise FileError(
        "no-source",
        f"its source '{stream}' is not in '{source}'",
        "name the file that it was made from with --source",
    )


def verify_outputs(
    outputs: list[str], source: str, jobs: int | None, progress: Progress
) -> tuple[list[Verdict], list[DropcliError]]:
    """Derive outputs again, and compare: in order the verdicts, and why the others have none."""
    check_local([*outputs, source], piped=False)
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("no-source", f"--source: '{source}' does not exist") from None
    except OSError:
        pass  # opening it says why
    found = discover(outputs, None, None)
    if not (found.inputs or found.failures):
        raise FileError("no-files", "no .safetensors or .pt files", None, outputs[0])
    mirrored = bool(found.folders) and is_folder(source)
    sizes = [
        os.path.getsize(item.path) if os.path.isfile(item.path) else 0 for item in found.inputs
    ]
    progress.begin(len(sizes), sum(sizes))
    engine = choose_engine(partial(_verify_chunk, source, mirrored), sizes, jobs)
    chunks = (found.inputs[start : start + _CHUNK] for start in range(0, len(sizes), _CHUNK))
    verdicts: dict[Input, Verdict] = {}
    for item, verdict in engine.run(chunks, lambda count: progress.advance(nbytes=count)):
        verdict = verdict or Verdict(item.path, error=worker_died(item.path))
        verdicts[item] = verdict
        progress.advance(files=1, failed=int(bool(verdict.error or verdict.difference)))
    done = [verdicts[item] for item in found.inputs]
    errors = [*found.failures, *(verdict.error for verdict in done if verdict.error)]
    return [verdict for verdict in done if not verdict.error], errors


def _verify_chunk(
    source: str, mirrored: bool, items: Sequence[Input], on_bytes: Callable[[int], None]
) -> tuple[Sequence[Verdict], Interrupted | None]:
    """What an engine runs."""
    verdicts = []
    try:
        for item in items:
            found = attempt(item.path, partial(_verify_file, item, source, mirrored, on_bytes))
            verdicts.append(
                found if isinstance(found, Verdict) else Verdict(item.path, error=found)
            )
    except Interrupted as stop:
        return verdicts, stop
    return verdicts, None
