"""One file to one file: open, augment, publish."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dropcli.atomic import Output, check_destination, publish
from dropcli.augment import augment, blank_report, plan
from dropcli.dropout import Dropout
from dropcli.errors import UsageError, located
from dropcli.formats import open_source
from dropcli.reader import STDIN
from dropcli.report import FileReport, Report
from dropcli.tensors import Source

STDOUT = "-"

OnTotal = Callable[[int], Callable[[int], None]]


@dataclass(frozen=True)
class Job:
    """One application: from where to where, and under which name in the mask key."""

    source: str
    output: str
    stream: str
    copy: int = 0
    force: bool = False
    in_place: bool = False
    provenance: bool = True
    dry_run: bool = False


def stream_of(source: str) -> str:
    """The name of a single file in the mask key: its stem, or `-` for standard input."""
    return STDIN if source == STDIN else PurePath(source).stem


def run_file(job: Job, dropout: Dropout, on_total: OnTotal) -> FileReport:
    """Write one output and report on it.

    `on_total` hears the size of the output, and gives what is to hear of every few bytes of it.
    """
    with located(_place(job.source)), closing(open_source(job.source)) as source:
        plans = plan(source.tensors, dropout, job.stream, job.copy)
        provenance = _provenance(job, dropout, source)
        size = source.output_size(provenance)
        _check_output(job)

        if job.dry_run:
            tensors = [blank_report(tensor, plans) for tensor in source.tensors]
        else:
            with _destination(job, size) as output, located(_place(job.source)):
                tensors = augment(source, plans, provenance, output.write, on_total(size))
                source.finish()

    return FileReport(
        job.source,
        job.output,
        job.stream,
        job.copy,
        size,
        "planned" if job.dry_run else "written",
        tensors,
    )


def check_stats_path(path: str, job: Job) -> None:
    """Find before any work that statistics cannot be written there, or as that."""
    if PurePath(path).suffix not in _STATS_FORMATS:
        expected = ", ".join(_STATS_FORMATS)
        raise UsageError(
            "bad-stats", f"--stats: expected a name ending in {expected}, got '{path}'"
        )
    for other in (job.source, job.output):
        if other not in (STDIN, STDOUT) and os.path.realpath(path) == os.path.realpath(other):
            raise UsageError("same-file", f"--stats: expected a file of its own, got '{path}'")
    if not job.dry_run:
        check_destination(path, replace=job.force)


def write_stats(path: str, report: Report, *, replace: bool) -> None:
    """Publish the statistics, in the form that the suffix names."""
    text = _STATS_FORMATS[PurePath(path).suffix](report).encode("utf-8", "surrogateescape")
    with publish(path, size=len(text), replace=replace) as output:
        output.write(text)


_STATS_FORMATS = {
    ".json": Report.to_json,
    ".jsonl": Report.to_json_lines,
    ".csv": Report.to_csv,
}


def _place(source: str) -> str:
    return "standard input" if source == STDIN else source


def _provenance(job: Job, dropout: Dropout, source: Source) -> list[Any] | None:
    if not job.provenance:
        return None
    return [*(source.provenance or []), dropout.provenance(job.stream, job.copy)]


def _check_output(job: Job) -> None:
    """Find what is in the way before any work."""
    if job.output == STDOUT:
        return
    if not job.in_place and _same_file(job.source, job.output):
        raise UsageError(
            "same-file",
            "expected an output other than the input, got the same file",
            "replace it with --in-place instead of -o",
            job.output,
        )
    check_destination(job.output, replace=job.force or job.in_place)


def _same_file(source: str, output: str) -> bool:
    """By inode, so that links and other spellings of a path are seen through."""
    opened = os.fstat(0) if source == STDIN else os.stat(source)
    try:
        return os.path.samestat(opened, os.stat(output)) and os.path.isfile(output)
    except OSError:
        return False


@contextmanager
def _destination(job: Job, size: int) -> Iterator[Output]:
    if job.output == STDOUT:
        yield Output(sys.__stdout__.fileno() if sys.__stdout__ else 1, "standard output")
    else:
        with publish(job.output, size=size, replace=job.force or job.in_place) as output:
            yield output
