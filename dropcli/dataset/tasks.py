"""One output of a dataset: what is to be done for it, and what came of it.

Tasks and outcomes cross from process to process, so they are small and picklable; what a file's
report says travels as the line of JSON that the journal keeps.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from dropcli.dataset.journal import Stamp
from dropcli.dropout import Dropout
from dropcli.errors import DropcliError, FileError, Interrupted, located
from dropcli.files import Transaction
from dropcli.parallel import Work, signals
from dropcli.pipeline import BytesProgress, Job, Notice, asked, copy_file, is_applied, run_file
from dropcli.tensors import DTYPES

_JOURNAL_KEYS = {
    *("settings", "untouched", "source_bytes", "source_mtime_ns", "source_inode"),
    "output_mtime_ns",
}


@dataclass(frozen=True, slots=True)
class Task:
    """One output. `name` is its path below the output folder, `stamp` what the source was like."""

    number: int
    job: Job
    name: str
    stamp: Stamp
    inode: int
    untouched: bool = False  # a copy of the file as it is
    tensors: bool = True  # whether the file holds tensors, or is another


class TensorRow(NamedTuple):
    """What an outcome says of one tensor, in totals over all files."""

    name: str
    kept_as: str | None  # why it is copied, None if it is dropped
    decisions: int = 0
    dropped: int = 0
    expected: float = 0.0  # decisions that p lets drop on average


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: a line of JSON, or an error."""

    task: Task
    line: str = ""
    error: DropcliError | None = None
    seconds: float = 0.0
    nbytes: int = 0
    rows: tuple[TensorRow, ...] = ()
    skipped: bool = False
    notices: tuple[Notice, ...] = ()
    unselected: DropcliError | None = None  # why nothing drops in it

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        document: dict[str, Any] = json.loads(self.line)
        if self.skipped:
            document["status"] = "skipped"
        names = {"source": self.task.job.source, "output": self.task.job.output}
        return {key: document[key] for key in document if key not in _JOURNAL_KEYS} | names


@dataclass(frozen=True)
class _Run:
    """What the tasks of a run have in common; `settings` are those that the journal records."""

    dropout: Dropout
    settings: dict[str, Any]
    resume: bool
    known: bool  # whether the journal of the run that is resumed is there


def make_work(
    dropout: Dropout, settings: dict[str, Any], *, resume: bool, known: bool
) -> Work[Task, Outcome]:
    """What an engine runs."""
    return partial(_work, _Run(dropout, settings, resume, known))


def recall(task: Task, document: dict[str, Any]) -> Outcome | None:
    """The outcome of a task that the journal knows to be done; None if it is not what was meant."""
    try:
        if document["untouched"] != task.untouched:
            return None
        return _outcome(task, document, skipped=True)
    except (KeyError, TypeError, ValueError):  # somebody has changed the journal
        return None


def _outcome(task: Task, document: dict[str, Any], **more: Any) -> Outcome:
    return Outcome(
        task,
        json.dumps(document, allow_nan=False),
        nbytes=document["bytes"],
        rows=() if task.untouched else tuple(_rows(document)),
        **more,
    )


def _rows(document: dict[str, Any]) -> Iterator[TensorRow]:
    # What was done before, in place, is not counted again.
    counted = document["status"] != "skipped"
    for tensor in document["tensors"]:
        name, action = tensor["name"], tensor["action"]
        if action == "copied":
            kind = DTYPES[tensor["dtype"]].kind if tensor["dtype"] in DTYPES else None
            plain = "not selected" if kind == "float" else tensor["dtype"]
            yield TensorRow(name, tensor.get("reason", plain))
        elif counted and action == "dropped":
            decisions = tensor["decisions"]
            expected = decisions * (asked(tensor, document["settings"]) or 0)
            yield TensorRow(name, None, decisions, tensor["dropped"] or 0, expected)
        else:
            yield TensorRow(name, None)


def _work(
    run: _Run, tasks: Sequence[Task], on_bytes: Callable[[int], None]
) -> tuple[list[Outcome], Interrupted | None]:
    """Do these tasks, and publish what they wrote together.

    A signal ends the work, but what was finished by then is published.
    """
    transaction, stop = Transaction(), None
    outcomes: list[Outcome] = []
    try:
        for task in tasks:
            outcomes.append(_do(task, run, transaction, on_bytes))
    except Interrupted as error:
        stop = error
    try:
        with signals.deferred():
            failed = transaction.commit()
            outcomes = [_published(outcome, failed) for outcome in outcomes]
    except Interrupted as error:
        stop = error
    return outcomes, stop


def _do(
    task: Task, run: _Run, transaction: Transaction, on_bytes: Callable[[int], None]
) -> Outcome:
    try:
        return _done(task, run, transaction, on_bytes)
    except DropcliError as error:
        return Outcome(task, error=error)
    except Exception as error:  # noqa: BLE001  # ours, but thousands of files shall not pay for it
        return Outcome(task, error=unexpected(error, task.job.source))


def unexpected(error: Exception, path: str) -> DropcliError:
    """The error of a file for an exception that is none of ours."""
    if isinstance(error, MemoryError):
        return DropcliError("out-of-memory", "expected more memory to be free", None, path)
    message = f"expected to be understood, got {type(error).__name__}: {error}"
    return DropcliError("bug", message, "this is a bug in dropcli, please report it", path)


def worker_died(path: str) -> FileError:
    """What became of a file whose worker was lost, also when it was done alone."""
    return FileError(
        "worker-died",
        "expected its worker process to live, but it was killed, twice",
        "is there enough memory? run this file alone",
        path,
    )


def _done(
    task: Task, run: _Run, transaction: Transaction, on_bytes: Callable[[int], None]
) -> Outcome:
    started, job = time.perf_counter(), task.job
    with located(job.source):
        stamp = Stamp.of(job.source)
    report, progress = None, BytesProgress(on_bytes)
    if job.writing.in_place and (run.resume or stamp != task.stamp):
        report = is_applied(job, run.dropout, strict=not run.known)
        if report is None and stamp != task.stamp:
            raise FileError(
                "changed",
                "expected the file to stay as it was when the run began, got another",
                "run again when nothing else writes to it",
                job.source,
            )
    skipped = report is not None
    if report is None and task.untouched:
        report = copy_file(job, progress, transaction, tensors=task.tensors)
    elif report is None:
        report = run_file(job, run.dropout, progress, transaction)

    document = {"settings": run.settings, **report.document(), "output": task.name}
    document |= {"untouched": task.untouched, "source_bytes": stamp.nbytes}
    document |= {"source_mtime_ns": stamp.mtime_ns, "source_inode": task.inode}
    return _outcome(
        task,
        document,
        seconds=time.perf_counter() - started,
        skipped=skipped,
        notices=tuple(report.notices()),
        unselected=report.unselected,
    )


def _published(outcome: Outcome, failed: dict[str, DropcliError]) -> Outcome:
    """The outcome now that its file is published, or is not."""
    job = outcome.task.job
    if error := outcome.error or failed.get(job.output):
        return Outcome(outcome.task, error=error)
    if job.writing.dry_run:
        return outcome
    try:
        with located(job.output):
            mtime = {"output_mtime_ns": Stamp.of(job.output).mtime_ns}
    except DropcliError as error:
        return Outcome(outcome.task, error=error)
    return replace(outcome, line=f"{outcome.line[:-1]}, {json.dumps(mtime)[1:]}\n")
