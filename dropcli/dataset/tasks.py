"""One output of a dataset: what is to be done for it, and what came of it.

Tasks and outcomes cross from process to process, so they are small and can be pickled.
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

R = TypeVar("R")


class Task(NamedTuple):
    """One output. `name` is its path below the output folder, `stamp` what the source was like."""

    number: int
    job: Job
    name: str
    stamp: Stamp
    untouched: bool = False  # a copy of the file as it is
    tensors: bool = True  # whether the file holds tensors


class TensorRow(NamedTuple):
    """What was done to one tensor, for the totals over all files."""

    name: str
    kept_as: str | None = None  # why it is copied, None if it is dropped
    decisions: int = 0
    dropped: int = 0
    expected: int = 0  # decisions that p drops on average, times 2**32
    variance: int | None = None  # of their number, times 2**32; None if chance does not decide


class Outcome(NamedTuple):
    """What came of a task."""

    task: Task
    error: DropcliError | None = None
    report: dict[str, Any] | None = None  # the file's part of the JSON document, if it is kept
    line: str = ""  # of the journal; none if nothing was written
    rows: tuple[TensorRow, ...] = ()
    nbytes: int = 0  # of the output
    skipped: bool = False  # done before this run
    seconds: float = 0.0
    notices: tuple[Notice, ...] = ()
    unselected: DropcliError | None = None  # why nothing drops in it
    samples: dict[str, Sample] | None = None  # by the names of tensors

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document, if it is kept."""
        return (self.report or {}) | ({"status": "skipped"} if self.skipped else {})


class _Run(NamedTuple):
    """What the tasks of a run have in common."""

    dropout: Dropout
    settings: dict[str, Any]  # that the journal records
    resume: bool
    known: bool  # whether the journal of the run that is resumed is there
    keep: bool  # whether the report lists every file
    name: str = ""  # a part of the names of unfinished files
    folder: str = ""  # that relative paths start from, "" for the current one


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
    """What an engine runs; `folder` is where paths start if it may run elsewhere."""
    return partial(_work, _Run(dropout, settings, resume, known, keep, run, folder))


def recall(task: Task, line: dict[str, Any]) -> Outcome | None:
    """The outcome of a task that the journal knows to be done; None if it is not what was meant."""
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
    # What an earlier run did in place is not counted again.
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
            sd = tensor.get("rate_sd")  # older journals have none
            variance = None if sd is None else round((sd * decisions) ** 2 * 2**32)
            dropped = tensor["dropped"] or 0
            rows.append(TensorRow(name, None, decisions, dropped, expected, variance))
        else:
            rows.append(TensorRow(name))
    return tuple(rows)


def _work(
    run: _Run, tasks: Sequence[Task], on_bytes: Callable[[int], None]
) -> tuple[list[Outcome], Interrupted | None]:
    """Do these tasks, and publish what they wrote together.

    A signal ends the work; what was finished by then is published.
    """
    transaction, stop = Transaction(run.name), None
    start = json.dumps({"settings": run.settings}, allow_nan=False)[:-1]  # of all lines
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
    """The task with paths that mean the same in any folder, and on other machines."""
    if not folder:
        return task
    paths = (task.job.source, task.job.output)
    source, output = (path if is_url(path) else os.path.join(folder, path) for path in paths)
    return task._replace(job=task.job._replace(source=source, output=output))


def _as_given(error: DropcliError, placed: Job, given: Job) -> DropcliError:
    """The error with the paths of the task as it was given."""
    if placed == given:
        return error
    texts = [error.message, error.hint, error.place]
    for path, name in ((placed.source, given.source), (placed.output, given.output)):
        texts = [text and text.replace(path, name) for text in texts]
    message, hint, place = texts
    return type(error)(error.code, message or "", hint, place)


def attempt(path: str, work: Callable[[], R]) -> R | DropcliError:
    """The result of work on this file, or its error: the other files do not fail with it."""
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
    """The error of a file whose worker died twice, the second time with this file alone."""
    return FileError(
        "worker-died",
        "the worker process was killed twice on this file",
        "run this file alone; it may need more memory than is free",
        path,
    )


class _Done(NamedTuple):
    """A file that is written, but not yet published."""

    report: FileReport
    source: Stamp  # when its task began
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
    """The outcome, now that the file is published or is not.

    `etag` is that of an object, `start` that of its line.
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
    """The file's line in the journal, after the settings."""
    line = {
        **report,
        "output": task.name,
        "untouched": task.untouched,
        **source.of_source,
        **({"output_etag": output.etag} if output.etag else {"output_mtime_ns": output.mtime_ns}),
    }
    return json.dumps(line, allow_nan=False)[1:]
