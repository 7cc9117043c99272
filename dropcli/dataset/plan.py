"""The plan of a dataset run: a task for each output, and everything that prevents the run.

All problems are found before any work: several inputs with the same output, outputs that exist,
and outputs that are inputs.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from dropcli.dataset.journal import Stamp, stamps_below
from dropcli.dataset.outputs import copy_names
from dropcli.dataset.request import Request
from dropcli.dataset.tasks import Task
from dropcli.dataset.walk import Found, Input
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import (
    Identity,
    identity,
    identity_of,
    is_file,
    is_url,
)
from dropcli.pipeline import Job, Notice


@dataclass
class Plan:
    """The tasks of a run in the order of the report, and the inputs that cannot be planned."""

    tasks: list[Task] = field(default_factory=list)
    failures: list[DropcliError] = field(default_factory=list)
    _sources: dict[Identity, str] = field(default_factory=dict)
    _seen: set[tuple[str, Identity]] = field(default_factory=set)

    def add(self, request: Request, item: Input, *, others: bool) -> None:
        """Add a task for each output of this file; `others` means that it holds no tensors."""
        try:
            stamp, file = _look_at(item)
        except DropcliError as error:
            self.failures.append(error)
            return
        if (item.name, file) in self._seen:
            return
        self._seen.add((item.name, file))
        self._sources[file] = item.path
        single = others or not request.copies or request.concat
        copies = copy_names(item.name, request.all_copies, request.copies)
        for copy, name in [(0, item.name)] if single else copies:
            output = item.path if request.output is None else os.path.join(request.output, name)
            stream = request.stream or item.stream
            self.tasks.append(
                Task(
                    len(self.tasks),
                    Job(item.path, output, stream, copy, request.writing),
                    output if request.output is None else name,
                    stamp,
                    untouched=others or (copy == 0 and not single),
                    tensors=not others,
                )
            )

    def check(self, request: Request, whole: Found) -> None:
        """Check the outputs.

        Raises:
            UsageError: outputs collide, or are inputs.
            FileError: outputs exist.
        """
        self._check_collisions(request)
        if request.output is None:
            if request.used_journals and not request.continues:
                raise FileError(
                    "interrupted-run",
                    "an interrupted run has already replaced some files",
                    "continue it with --resume, or drop all files again with --force",
                    request.used_journals[0],
                )
            return
        existing = self._existing(whole, request.output) or request.used_journals
        if existing and not request.continues:
            more = f" (the first of {len(existing):,} outputs)" if len(existing) > 1 else ""
            raise FileError(
                "exists",
                f"already exists{more}",
                "continue with --resume, or replace with --force",
                existing[0],
            )

    def _check_collisions(self, request: Request) -> None:
        seen: dict[str, str] = {}
        if request.output is not None and request.journal:
            seen[os.path.normpath(request.journal)] = "the journal"
        resolve = os.path.normpath if request.output is not None else os.path.realpath
        for task in self.tasks:
            source = task.job.source
            first = seen.setdefault(resolve(task.job.output), source)
            if first != source:
                raise UsageError(
                    "collision",
                    f"would be the output of both '{first}' and '{source}'",
                    "give the folder above both, or run them one by one",
                    task.job.output,
                )

    def _existing(self, whole: Found, folder: str) -> list[str]:
        """The outputs that exist already. Raises UsageError for one that is an input."""
        found: dict[str, str] = {}  # keys are absolute paths
        there = stamps_below(folder) if is_url(folder) else None
        if there is None and not os.path.lexists(folder):
            return []
        for task in self.tasks:
            output = identity(task.job.output)
            if output is None or (there is not None and task.job.output not in there):
                continue
            if source := self._sources.get(output):
                raise _is_input(source, task.job.output)
            found[os.path.abspath(task.job.output)] = task.job.output
        # The inputs of other shards have not been examined.
        for item in whole.inputs if found else ():
            if same := found.get(os.path.abspath(item.path)):
                raise _is_input(item.path, same)
        return list(found.values())


def _is_input(source: str, output: str) -> UsageError:
    return UsageError(
        "same-file",
        f"is also an input, as '{source}'",
        "write to another folder, or replace the inputs with --in-place",
        output,
    )


def _look_at(item: Input) -> tuple[Stamp, Identity]:
    """The stamp of an input, and the identity that all its names share."""
    with located(item.path):
        if is_url(item.path):
            return item.stamp or Stamp.of(item.path), identity(item.path) or ("", "")
        status = os.stat(item.path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("not-a-file", "is a pipe or a device, not a file")
        return Stamp.from_status(status), identity_of(status)


def shared_streams(tasks: list[Task]) -> Iterator[Notice]:
    """The warning about files with the same name in mask keys, such as `a.pt` and `a.bin`."""
    first: dict[tuple[str, int], str] = {}
    shared = []
    for task in tasks:
        job = task.job
        other = first.setdefault((job.stream, job.copy), job.source)
        if other != job.source and not task.untouched:
            shared.append((other, job))
    if shared:
        other, job = shared[0]
        more = f" (and {len(shared) - 1:,} more like them)" if len(shared) > 1 else ""
        yield Notice(
            "same-stream",
            f"'{other}' and '{job.source}'{more} share the stream '{job.stream}', so tensors of "
            "the same name get the same mask",
        )


def plan_batch(request: Request, whole: Found) -> Plan:
    """Plan the run for these files, or for the shard; raise what prevents it."""
    found = whole.part(request.shard) if request.shard else whole
    plan = Plan(failures=list(found.failures))
    for item in found.inputs:
        plan.add(request, item, others=False)
    for item in found.others if request.copy_others else ():
        if not _is_special(item.path):  # pipes and devices cannot be kept
            plan.add(request, item, others=True)
    if not (plan.tasks or plan.failures or (request.shard and whole.inputs)):
        count = len(whole.others)
        raise FileError(
            "no-files",
            "no .safetensors or .pt files" + (f", only others ({count:,})" if count else ""),
            "name files of another suffix one by one, or with a glob" if count else None,
            ", ".join(whole.folders) or None,
        )
    plan.check(request, whole)
    return plan


def _is_special(path: str) -> bool:
    try:
        return not is_file(path)
    except DropcliError:
        return False  # the error comes when it is opened
