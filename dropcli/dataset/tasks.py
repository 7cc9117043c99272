"""The task and the outcome of one output of a dataset.

They are sent between processes, so they are small and picklable.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from dropcli.dataset.journal import Stamp
from dropcli.dropout import Dropout
from dropcli.errors import DropcliError, FileError, Interrupted, located
from dropcli.files import Transaction, fetched_ahead, is_url
from dropcli.parallel import Work, signals
from dropcli.pipeline import (
    BytesProgress,
    FileReport,
    Job,
    Notice,
    Sample,
    asked,
    copy_file,
    is_applied,
    run_file,
)
from dropcli.tensors import DTYPES

_REPORT_KEYS = ("source", "output", "stream", "copy", "bytes", "status", "tensors")

_encode = json.JSONEncoder(allow_nan=False).encode  # `json.dumps` makes one in each call

R = TypeVar("R")


class Task(NamedTuple):
    """One output. `name` is its path below the output folder; `stamp` is that of the source."""

    number: int
    job: Job
    name: str
    stamp: Stamp
    untouched: bool = False  # copy the file without changes
    tensors: bool = True  # whether the file holds tensors


class TensorRow(NamedTuple):
    """The result for one tensor, for the totals over all files."""

    name: str
    kept_as: str | None = None  # why it is copied; None if it is dropped
    decisions: int = 0
    dropped: int = 0
    expected: int = 0  # sum over decisions of their p, times 2**32
    # Of the number that drops, times 2**32; None if it is not decided by chance.
    variance: int | None = None


class Outcome(NamedTuple):
    """The result of a task."""

    task: Task
    error: DropcliError | None = None
    report: dict[str, Any] | None = None  # the file's part of the JSON document, if it is kept
    line: str = ""  # of the journal; empty if nothing was written
    rows: tuple[TensorRow, ...] = ()
    nbytes: int = 0  # of the output
    skipped: bool = False  # done before this run
    seconds: float = 0.0
    notices: tuple[Notice, ...] = ()
    unselected: DropcliError | None = None  # why nothing drops in it
    samples: dict[str, Sample] | None = None  # by tensor names

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document, if it is kept."""
        return (self.report or {}) | ({"status": "skipped"} if self.skipped else {})


class _Run(NamedTuple):
    """What the tasks of a run have in common."""

    dropout: Dropout
    settings: dict[str, Any]  # for the journal
    resume: bool
    known: bool  # whether the journal of the resumed run exists
    keep: bool  # whether the report lists every file
    name: str = ""  # part of the names of unfinished files
    folder: str = ""  # relative paths start here; "" is the current folder


def make_work(
    dropout: Dropout,
    settings: dict[str, Any],
    *,
    resume: bool,
    known: bool,
    keep: bool,
    run: str = "",
    folder: str = "",
) -> Work[Task, Outcome]:
    """The function that an engine runs; `folder` is the start of paths if it runs elsewhere."""
    return partial(_work, _Run(dropout, settings, resume, known, keep, run, folder))


def recall(task: Task, line: dict[str, Any]) -> Outcome | None:
    """The outcome of a finished task, from its line in the journal; None if it is unusable."""
    try:
        if line["untouched"] != task.untouched:
            return None
        report = {key: line[key] for key in _REPORT_KEYS}
        report |= {"source": task.job.source, "output": task.job.output}
        rows = _rows(task, report, line["settings"])
    except (KeyError, TypeError, ValueError):  # the journal was edited
        return None
    return Outcome(task, report=report, rows=rows, skipped=True)


def _rows(task: Task, report: dict[str, Any], settings: dict[str, Any]) -> tuple[TensorRow, ...]:
    if task.untouched:
        return ()
    # Elements that an earlier run dropped in place are not counted again.
    counted = report["status"] != "skipped"
    rows = []
    for tensor in report["tensors"]:
        name, decisions = tensor["name"], tensor["decisions"]
        if tensor["action"] == "copied":
            kind = DTYPES[tensor["dtype"]].kind if tensor["dtype"] in DTYPES else None
            plain = "not selected" if kind == "float" else tensor["dtype"]
            rows.append(TensorRow(name, tensor.get("reason", plain)))
        elif counted and tensor["action"] == "dropped":
            expected = round(decisions * (asked(tensor, settings) or 0) * 2**32)
            sd = tensor.get("rate_sd")  # older journals do not have it
            variance = None if sd is None else round((sd * decisions) ** 2 * 2**32)
            dropped = tensor["dropped"] or 0
            rows.append(TensorRow(name, None, decisions, dropped, expected, variance))
        else:
            rows.append(TensorRow(name))
    return tuple(rows)


def _work(
    run: _Run, tasks: Sequence[Task], on_bytes: Callable[[int], None]
) -> tuple[list[Outcome], Interrupted | None]:
    """Process these tasks, and publish their outputs together.

    A signal ends the work; what was finished by then is published.
    """
    transaction, stop = Transaction(run.name), None
    start = _encode({"settings": run.settings})[:-1]  # the same in all lines
    done: list[_Done | DropcliError] = []
    try:
        with fetched_ahead((task.job.source, task.stamp.nbytes) for task in tasks):
            for task in (_placed(task, run.folder) for task in tasks):
                work = partial(_do, task, run, transaction, on_bytes)
                done.append(attempt(task.job.source, work))
    except Interrupted as error:
        stop = error
    outcomes: list[Outcome] = []
    try:
        with signals.deferred():
            failed = transaction.commit()
            for task, result in zip(tasks, done, strict=False):
                etag = transaction.etag_of(_placed(task, run.folder).job.output)
                outcomes.append(_outcome(task, result, run, failed, etag, start))
    except Interrupted as error:
        stop = error
    return outcomes, stop


def _placed(task: Task, folder: str) -> Task:
    """The task with paths that do not depend on the current folder, for other machines."""
    if not folder:
        return task
    paths = (task.job.source, task.job.output)
    source, output = (path if is_url(path) else os.path.join(folder, path) for path in paths)
    return task._replace(job=task.job._replace(source=source, output=output))


def _as_given(error: DropcliError, placed: Job, given: Job) -> DropcliError:
    """The error with the paths that the user gave."""
    if placed == given:
        return error
    texts = [error.message, error.hint, error.place]
    for path, name in ((placed.source, given.source), (placed.output, given.output)):
        texts = [text and text.replace(path, name) for text in texts]
    message, hint, place = texts
    return type(error)(error.code, message or "", hint, place)


def attempt(path: str, work: Callable[[], R]) -> R | DropcliError:
    """Return the result of work on this file, or its error, so that other files continue."""
    try:
        return work()
    except DropcliError as error:
        return error
    except MemoryError:
        return DropcliError("out-of-memory", "out of memory", None, path)
    except Exception as error:  # noqa: BLE001  # a bug of ours
        message = f"internal error: {type(error).__name__}: {error}"
        return DropcliError("bug", message, "this is a bug in dropcli; please report it", path)


def worker_died(path: str) -> FileError:
    """The error for a file whose worker died twice, the second time with only this file."""
    return FileError(
        "worker-died",
        "the worker process was killed twice while it processed this file",
        "run this file alone; it may need more memory than is free",
        path,
    )


class _Done(NamedTuple):
    """A file that is written but not yet published."""

    report: FileReport
    source: Stamp  # at the start of its task
    seconds: float
    skipped: bool


def _do(task: Task, run: _Run, transaction: Transaction, on_bytes: Callable[[int], None]) -> _Done:
    started, job = time.perf_counter(), task.job
    with located(job.source):
        stamp = task.stamp if task.stamp.etag else Stamp.of(job.source)
    report, progress = None, BytesProgress(on_bytes)
    if job.writing.in_place and (run.resume or stamp != task.stamp):
        report = is_applied(job, run.dropout, strict=not run.known)
        if report is None and stamp != task.stamp:
            raise FileError(
                "changed",
                "the file has changed since the run began",
                "run again when no other program writes to it",
                job.source,
            )
    skipped = report is not None
    if report is None and task.untouched:
        report = copy_file(job, progress, transaction, tensors=task.tensors)
    elif report is None:
        report = run_file(job, run.dropout, progress, transaction)
    return _Done(report, stamp, time.perf_counter() - started, skipped)


def _outcome(
    task: Task,
    done: _Done | DropcliError,
    run: _Run,
    failed: dict[str, DropcliError],
    etag: str | None,
    start: str,
) -> Outcome:
    """The outcome of a task, after publication succeeded or failed.

    `etag` is that of an object; `start` is the beginning of its line in the journal.
    """
    job, line = _placed(task, run.folder).job, ""
    try:
        if isinstance(done, DropcliError):
            raise done
        if job.output in failed:
            raise failed[job.output]
        report = done.report.document() | {"source": task.job.source, "output": task.job.output}
        if not job.writing.dry_run:
            with located(job.output):
                made = Stamp(report["bytes"], etag=etag) if etag else Stamp.of(job.output)
                line = f"{start}, {_line(task, report, done.source, made)}"
    except DropcliError as error:
        return Outcome(task, _as_given(error, job, task.job))
    return Outcome(
        task,
        None,
        report if run.keep else None,
        line,
        _rows(task, report, run.settings),
        done.report.size,
        done.skipped,
        done.seconds,
        tuple(done.report.notices()),
        done.report.unselected,
        {t.name: t.sample for t in done.report.tensors if t.sample} or None,
    )


def _line(task: Task, report: dict[str, Any], source: Stamp, output: Stamp) -> str:
    """The file's line in the journal, without the settings."""
    line = {
        **report,
        "output": task.name,
        "untouched": task.untouched,
        **source.of_source,
        **({"output_etag": output.etag} if output.etag else {"output_mtime_ns": output.mtime_ns}),
    }
    return _encode(line)[1:]
