"""One output of a dataset: what is to be done for it, and what came of it.

Tasks and outcomes cross from process to process, so they are small and picklable; what a file's
report says travels as the line of JSON that the journal keeps.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dropcli.dropout import Dropout
from dropcli.engines import Work
from dropcli.errors import DropcliError, FileError, located
from dropcli.journal import Stamp
from dropcli.report import FileReport
from dropcli.run import Job, copy_file, is_applied, run_file

_JOURNAL_KEYS = ("settings", "source_bytes", "source_mtime_ns", "output_mtime_ns")


@dataclass(frozen=True)
class Task:
    """One output. `name` is its path below the output folder, `stamp` what the source was like."""

    number: int
    job: Job
    name: str
    stamp: Stamp
    untouched: bool = False  # a copy of the file as it is
    tensors: bool = True  # whether the file holds tensors, or is another
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a line of JSON, or an error."""

    task: Task
    line: str = ""
    error: DropcliError | None = None
    seconds: float = 0.0
    nbytes: int = 0
    decisions: int = 0
    dropped: int = 0
    skipped: bool = False
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        document: dict[str, Any] = json.loads(self.line)
        if self.skipped:
            document["status"] = "skipped"
        names = {"source": self.task.job.source, "output": self.task.job.output}
        return {key: document[key] for key in document if key not in _JOURNAL_KEYS} | names


def make_work(dropout: Dropout, settings: dict[str, Any]) -> Work[Task, Outcome]:
    """What an engine runs; `settings` are those that the journal records."""
    return partial(_do, dropout, settings)


def recall(task: Task, line: str) -> Outcome:
    """The outcome of a task that the journal knows to be done."""
    document = json.loads(line)
    tensors = document["tensors"]
    return Outcome(
        task,
        line,
        nbytes=document["bytes"],
        decisions=sum(tensor["decisions"] for tensor in tensors),
        dropped=sum(tensor["dropped"] for tensor in tensors),
        skipped=True,
    )


def _do(
    dropout: Dropout, settings: dict[str, Any], task: Task, on_bytes: Callable[[int], None]
) -> Outcome:
    started = time.perf_counter()
    try:
        outcome = _done(task, dropout, settings, on_bytes)
    except DropcliError as error:
        outcome = Outcome(task, error=error)
    except MemoryError:
        message = "expected more memory to be free"
        outcome = Outcome(task, error=DropcliError("out-of-memory", message, None, task.job.source))
    except Exception as error:  # noqa: BLE001  # ours, but thousands of files shall not pay for it
        message = f"expected to be understood, got {type(error).__name__}: {error}"
        hint = "this is a bug in dropcli, please report it"
        outcome = Outcome(task, error=DropcliError("bug", message, hint, task.job.source))
    return replace(outcome, seconds=time.perf_counter() - started)


def _done(
    task: Task, dropout: Dropout, settings: dict[str, Any], on_bytes: Callable[[int], None]
) -> Outcome:
    with located(task.job.source):
        stamp = Stamp.of(task.job.source)
    report = None
    if task.job.in_place and (task.resume or stamp != task.stamp):
        report = is_applied(task.job, dropout)
        if report is None and stamp != task.stamp:
            raise FileError(
                "changed",
                "expected the file to stay as it was when the run began, got another",
                "run again when nothing else writes to it",
                task.job.source,
            )
    skipped = report is not None
    if report is None:
        report = _write(task, dropout, on_bytes)

    line: dict[str, Any] = {"settings": settings, **report.document(), "output": task.name}
    if not task.job.dry_run:
        line |= {"source_bytes": stamp.nbytes, "source_mtime_ns": stamp.mtime_ns}
        line["output_mtime_ns"] = Stamp.of(task.job.output).mtime_ns
    return Outcome(
        task,
        json.dumps(line, allow_nan=False) + "\n",
        nbytes=report.size,
        decisions=sum(tensor.decisions for tensor in report.tensors),
        dropped=sum(tensor.dropped for tensor in report.tensors),
        skipped=skipped,
        warnings=tuple(report.warnings(verbose=False)),
    )


def _write(task: Task, dropout: Dropout, on_bytes: Callable[[int], None]) -> FileReport:
    if task.untouched:
        return copy_file(task.job, on_bytes, tensors=task.tensors)
    return run_file(task.job, dropout, lambda total: on_bytes)
