"""One file to one file: open, augment, publish."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from dropcli.dropout.settings import Dropout
from dropcli.errors import FileError, FormatError, UsageError, located
from dropcli.files import (
    STDIN,
    STDOUT,
    STDOUT_NAME,
    Output,
    Reader,
    Transaction,
    check_destination,
    foresee_destination,
    is_piped,
    make_folders,
    place_of,
    publish,
    same_file,
)
from dropcli.formats import Concatenated, Source, convert, label, open_source
from dropcli.pipeline.loop import augment, blank_reports, plan
from dropcli.pipeline.pieces import Plans
from dropcli.pipeline.report import FileReport, Status, TensorReport

_COPY_BYTES = 1 << 20

Write = Callable[[bytes | memoryview], None]
OnTotal = Callable[[int], Callable[[int], None]]


@dataclass(frozen=True, slots=True)
class Job:
    """One application: from where to where, and under which name in the mask key.

    `concat` are the copies to write into one file, 0 the untouched one.
    """

    source: str
    output: str
    stream: str
    copy: int = 0
    force: bool = False
    in_place: bool = False
    provenance: bool = True
    dry_run: bool = False
    concat: tuple[int, ...] = ()
    statistics: bool = True
    in_dataset: bool = False  # folders are made, and an output with the very same bytes is ours


def stream_of(source: str) -> str:
    """The name of a single file in the mask key: its stem, or `-` for what is piped in."""
    # A pipe has a number for a name, which says nothing of what comes through it.
    return STDIN if is_piped(source) else PurePath(source).stem


def run_file(
    job: Job, dropout: Dropout, on_total: OnTotal, transaction: Transaction | None = None
) -> FileReport:
    """Write one output and report on it; with a transaction it is published when that is committed.

    `on_total` hears the size of the output, and gives what is to hear of every few bytes of it.
    """
    with _prepared(job, dropout) as ready:
        source = ready.source
        _check_output(job, ready.size)
        if job.dry_run:
            tensors = blank_reports(source.tensors, ready.plans)
        else:
            with (
                _destination(job, ready.size, transaction) as output,
                located(place_of(job.source)),
            ):
                tensors = ready.write(output.write, on_total(ready.size))

    return FileReport(
        job.source,
        job.output,
        job.stream,
        job.copy,
        ready.size,
        "planned" if job.dry_run else "written",
        tensors,
        applied_before=_applied_before(source.provenance or [], dropout, job),
        evaluation=dropout.eval,
        notes=list(source.notes),
        strangers=list(source.unknown_classes),
    )


def derive_file(job: Job, dropout: Dropout, write: Write, on_total: OnTotal) -> int:
    """Give the bytes of the output to `write` instead of a file, and return their number."""
    with _prepared(job, dropout) as ready:
        ready.write(write, on_total(ready.size))
        return ready.size


@dataclass(frozen=True)
class _Ready:
    """An open source, and all that is to be known before the first byte is written."""

    source: Source
    plans: Plans
    provenance: list[Any] | None
    size: int

    def write(self, write: Write, on_bytes: Callable[[int], None]) -> list[TensorReport]:
        tensors = augment(self.source, self.plans, self.provenance, write, on_bytes)
        self.source.finish()
        return tensors


@contextmanager
def _prepared(job: Job, dropout: Dropout) -> Iterator[_Ready]:
    with located(place_of(job.source)), closing(open_source(job.source)) as opened:
        source = opened if job.in_place else convert(opened, job.output)
        source, plans = _plan(source, dropout, job)
        provenance = _provenance(job, dropout, source)
        yield _Ready(source, plans, provenance, source.output_size(provenance))


def copy_file(
    job: Job,
    on_bytes: Callable[[int], None],
    transaction: Transaction | None = None,
    *,
    tensors: bool,
) -> FileReport:
    """Write the file as it is; one of `tensors` only if it is sound."""
    reports: list[TensorReport] = []
    with located(job.source):
        if tensors:
            with closing(open_source(job.source)) as source:
                reports = blank_reports(source.tensors, {})
        with closing(Reader(job.source)) as reader:
            size = reader.size or 0
            _check_output(job, size)
            if not job.dry_run:
                with _destination(job, size, transaction) as output, located(job.source):
                    for start in range(0, size, _COPY_BYTES):
                        data = reader.read(start, min(_COPY_BYTES, size - start))
                        output.write(data)
                        on_bytes(len(data))
                    reader.finish()
    status: Status = "planned" if job.dry_run else "written"
    return FileReport(
        job.source, job.output, job.stream, job.copy, size, status, reports, evaluation=True
    )


def is_applied(job: Job, dropout: Dropout, *, strict: bool) -> FileReport | None:
    """A report without statistics if this very application is the last one of the source.

    If `strict`, FileError for another one under the same name: it is not known which was meant.
    """
    with located(job.source), closing(open_source(job.source)) as source:
        entries = source.provenance or []
        ours = dropout.provenance(job.stream, job.copy)
        if entries[-1:] != [ours]:
            if strict and entries and _is_twin(entries[-1], ours):
                raise FileError(
                    "other-settings",
                    "--resume: expected an untouched file or these settings, got others in it",
                    "`dropcli info` shows them; without --resume it is dropped once more",
                )
            return None
        plans = plan(source, dropout, job.stream, job.copy)
        tensors = blank_reports(source.tensors, plans)
        size = source.size
    return FileReport(
        job.source, job.output, job.stream, job.copy, size, "skipped", tensors, evaluation=True
    )


def _is_twin(entry: Any, ours: dict[str, Any]) -> bool:
    """Whether both are applications to a file of the same name."""
    names = ("contract", "stream", "copy")
    return isinstance(entry, dict) and all(entry.get(name) == ours[name] for name in names)


def _plan(source: Source, dropout: Dropout, job: Job) -> tuple[Source, Plans]:
    """What is to be written, and the tensors to drop in it."""
    if not job.concat:
        return source, plan(source, dropout, job.stream, job.copy, statistics=job.statistics)
    selected = replace(dropout, eval=False).select(source.tensors)
    plans = {
        label(name, copy): found
        for copy in job.concat
        if copy
        for name, found in plan(
            source, dropout, job.stream, copy, statistics=job.statistics
        ).items()
    }
    return Concatenated(source, selected, list(job.concat)), plans


def _provenance(job: Job, dropout: Dropout, source: Source) -> list[Any] | None:
    if not job.provenance:
        return None
    if source.provenance is None:
        raise FormatError(
            "foreign-provenance",
            "expected a list of applications in the place of the provenance, got something else",
            "keep it as it is with --no-provenance",
        )
    entry = dropout.provenance(job.stream, job.copy)
    if job.concat:
        entry["concat"] = {"copies": job.concat[-1], "original": job.concat[0] == 0}
    return [*source.provenance, entry]


def _applied_before(entries: list[Any], dropout: Dropout, job: Job) -> bool:
    """Whether this file went through the very same masks already."""
    now = dropout.provenance(job.stream, job.copy)
    # torch's masks depend on the seed alone.
    parts = ("contract",) if dropout.rng == "torch" else ("contract", "stream", "copy")
    return any(
        isinstance(entry, dict)
        and isinstance(entry.get("settings"), dict)
        and not (dropout.eval or entry["settings"].get("eval"))
        and entry["settings"].get("seed") == dropout.seed
        and all(entry.get(key) == now[key] for key in parts)
        for entry in entries
    )


def _check_output(job: Job, size: int) -> None:
    """Find what is in the way before any work."""
    if not job.in_place and same_file(job.source, job.output):
        raise UsageError(
            "same-file",
            "expected an output other than the input, got the same file",
            "replace it with --in-place instead of -o",
            STDOUT_NAME if job.output == STDOUT else job.output,
        )
    if job.output == STDOUT:
        return
    if job.in_place and not job.force and not os.stat(job.source).st_mode & 0o222:
        raise FileError(
            "read-only", "expected a file that may be written, got a read-only one", "add --force"
        )
    if job.in_dataset and job.dry_run:
        foresee_destination(job.output, size, replace=job.force)
        return
    if job.in_dataset:
        with located(job.output):
            make_folders(os.path.dirname(job.output) or ".")
    elif job.dry_run:  # else it is the first thing that publishing does
        check_destination(job.output, replace=job.force or job.in_place)


@contextmanager
def _destination(job: Job, size: int, transaction: Transaction | None) -> Iterator[Output]:
    if job.output == STDOUT:
        output = Output(sys.__stdout__.fileno() if sys.__stdout__ else 1, STDOUT_NAME)
        yield output
        output.flush()
    else:
        replace, adopt = job.force or job.in_place, job.in_dataset
        with publish(
            job.output, size=size, replace=replace, adopt=adopt, transaction=transaction
        ) as output:
            yield output
