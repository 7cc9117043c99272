"""Derive outputs again from their provenance and their sources, and compare bytes."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np

from dropcli.dataset.discover import TENSOR_SUFFIXES, Input, discover
from dropcli.dataset.names import is_name_of, name_of_original
from dropcli.dataset.tasks import unexpected, worker_died
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


@dataclass(frozen=True)
class Difference:
    """The first byte that is not as it should be, None where the output cannot even be read."""

    byte: int | None
    tensor: str | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """What came of one output."""

    output: str
    source: str | None = None
    stream: str | None = None
    copy: int | None = None
    nbytes: int = 0
    difference: Difference | None = None
    error: DropcliError | None = None

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        found = self.difference
        return {
            "output": self.output,
            "source": self.source,
            "stream": self.stream,
            "copy": self.copy,
            "bytes": self.nbytes,
            "status": "different" if found else "same",
            "difference": found
            and {"byte": found.byte, "tensor": found.tensor, "message": found.message},
        }


class _Differs(Exception):
    """Ends the comparison."""

    def __init__(self, byte: int) -> None:
        self.byte = byte


class _Comparison:
    """Takes bytes as an output file would, and compares them with one that is there."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._position = 0

    def write(self, data: bytes | memoryview) -> None:
        """The bytes that should come next."""
        size = self._reader.size or 0
        there = self._reader.read(self._position, min(len(data), size - self._position))
        if there != data:
            differing = (
                np.frombuffer(there, np.uint8) != np.frombuffer(data, np.uint8)[: len(there)]
            )
            first = int(differing.argmax()) if differing.any() else len(there)
            raise _Differs(self._position + first)
        self._position += len(data)

    def finish(self) -> None:
        """There should be no more."""
        if self._position != self._reader.size:
            raise _Differs(self._position)


def verify_file(
    item: Input, source: str, mirrored: bool, on_bytes: Callable[[int], None]
) -> Verdict:
    """Whether an output is what its provenance says it is, made from `source`.

    `source` is the file it was made from, or the folder; if `mirrored`, the output should be called
    as its source. DropcliError where that cannot be told.
    """
    with located(item.path), closing(Reader(item.path)) as reader:
        if not reader.seekable:
            raise FileError("not-a-file", "expected a file to verify, got a pipe or a device")
        if original := _original(item, source):
            verdict = _compare(reader, original, partial(_copy, original, on_bytes))
            if not verdict.difference:
                return replace(verdict, output=item.path, source=original, copy=0)
        try:
            with closing(open_source(item.path)) as opened:
                entries, tensors, name = opened.provenance, opened.tensors, _name(opened)
        except FormatError as error:
            found = Difference(None, None, f"cannot be read: {error.message}")
            return Verdict(item.path, None, nbytes=reader.size or 0, difference=found)
        if not entries:
            raise FormatError(
                "no-provenance",
                "expected the record of how it was made, got a file without provenance",
                "it was written with --no-provenance, or not by dropcli",
            )
        entry = entries[-1]
        dropout, entry = read_entry(entry)
        stream, copy = entry["stream"], entry["copy"]
        made_from = _source_of(item, stream, source)
        if mirrored and not _is_called(item, stream, copy):
            what = f"copy {copy} of '{stream}'" if copy else f"'{stream}'"
            found = Difference(None, None, f"by its provenance it is {what}, under another name")
            return Verdict(item.path, made_from, stream, copy, reader.size or 0, found)
        writing = Writing(concat=copies_from(entry), statistics=False)
        job = Job(made_from, name, stream, copy, writing)

        def derive(write: Callable[[bytes | memoryview], None]) -> None:
            derive_file(job, dropout, entry, write, BytesProgress(on_bytes))

        verdict = _compare(reader, made_from, derive, tensors)
        return replace(verdict, output=item.path, stream=job.stream, copy=job.copy)


def _name(output: Source) -> str:
    """A name that an output had; it may decide on a conversion, and is that of an archive."""
    return f"{output.root}.pt" if output.root else "x.safetensors"


def _compare(
    reader: Reader,
    source: str,
    derive: Callable[[Callable[[bytes | memoryview], None]], None],
    tensors: Sequence[TensorInfo] = (),
) -> Verdict:
    comparison = _Comparison(reader)
    difference = None
    try:
        derive(comparison.write)
        comparison.finish()
    except _Differs as found:
        difference = _describe(found.byte, reader.size or 0, tensors)
    return Verdict("", source, nbytes=reader.size or 0, difference=difference)


def _describe(byte: int, size: int, tensors: Sequence[TensorInfo]) -> Difference:
    inside = (t.name for t in tensors if t.offset <= byte < t.offset + t.nbytes)
    tensor = next(inside, None)
    where = f"in tensor '{tensor}'" if tensor else "outside the tensors"
    what = "the file ends" if byte >= size else f"the first other byte, {where}"
    return Difference(byte, tensor, f"byte {byte:,}: {what}")


def _copy(
    source: str, on_bytes: Callable[[int], None], write: Callable[[bytes | memoryview], None]
) -> None:
    with located(source), closing(Reader(source)) as reader:
        for start in range(0, reader.size or 0, _BLOCK):
            data = reader.read(start, min(_BLOCK, (reader.size or 0) - start))
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
    # Of a folder within the one that was written, the path itself says where it lies.
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
        f"expected its source '{stream}' in '{source}', got none",
        "name the file it was made from with --source",
    )


def verify_outputs(
    outputs: list[str], source: str, jobs: int | None, progress: Progress
) -> tuple[list[Verdict], list[DropcliError]]:
    """Derive outputs again, and compare: in order the verdicts, and why the others have none."""
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        message = f"--source: expected a file or a folder, got '{source}'"
        raise UsageError("no-source", message) from None
    except OSError:
        pass  # opening it will tell
    found = discover(outputs, None, None)
    if not (found.inputs or found.failures):
        raise FileError("no-files", "expected files to verify, got none", None, outputs[0])
    mirrored = bool(found.folders) and is_folder(source)
    sizes = [
        os.path.getsize(item.path) if os.path.isfile(item.path) else 0 for item in found.inputs
    ]
    progress.begin(len(sizes), sum(sizes))
    engine = choose_engine(partial(verify_work, source, mirrored), sizes, jobs)
    chunks = (found.inputs[start : start + _CHUNK] for start in range(0, len(sizes), _CHUNK))
    verdicts: dict[Input, Verdict] = {}
    for item, verdict in engine.run(chunks, lambda count: progress.advance(nbytes=count)):
        verdict = verdict or Verdict(item.path, error=worker_died(item.path))
        verdicts[item] = verdict
        progress.advance(files=1, failed=int(bool(verdict.error or verdict.difference)))
    done = [verdicts[item] for item in found.inputs]
    errors = [*found.failures, *(verdict.error for verdict in done if verdict.error)]
    return [verdict for verdict in done if not verdict.error], errors


def verify_work(
    source: str, mirrored: bool, items: Sequence[Input], on_bytes: Callable[[int], None]
) -> tuple[Sequence[Verdict], Interrupted | None]:
    """What an engine runs."""
    verdicts = []
    for item in items:
        try:
            verdicts.append(verify_file(item, source, mirrored, on_bytes))
        except DropcliError as error:
            verdicts.append(Verdict(item.path, error=error))
        except Exception as error:  # noqa: BLE001  # ours, but the others are to be verified too
            verdicts.append(Verdict(item.path, error=unexpected(error, item.path)))
        except Interrupted as stop:
            return verdicts, stop
    return verdicts, None
