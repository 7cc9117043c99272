"""The plan of a dataset run: a task for each output, and everything that prevents the run.

All problems are found before any work: several inputs with the same output, outputs that exist,
and outputs that are inputs.
"""

import os
import stat
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from dropcli.dataset.journal import Journal, Stamp, Stamps, stamps_below
from dropcli.dataset.outputs import copy_name
from dropcli.dataset.request import Request
from dropcli.dataset.tally import Tally
from dropcli.dataset.tasks import Task, recall
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


class Tasks:
    """The tasks of a plan. Each is made on demand, because a million tasks fill a gigabyte.

    Those of files with tensors come first, file by file.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.items: list[Input] = []
        self._stamps = Stamps()
        self._inputs = 0  # items that hold tensors
        several = request.copies and not request.concat
        self._copies = request.all_copies if several else None

    def add(self, item: Input, stamp: Stamp, *, others: bool) -> None:
        """Add all outputs of a file; `others` means that it holds no tensors."""
        self.items.append(item)
        self._stamps.append(stamp)
        self._inputs += not others

    def __len__(self) -> int:
        more = len(self._copies) - 1 if self._copies else 0
        return len(self.items) + self._inputs * more

    def __iter__(self) -> Iterator[Task]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> Task:
        place, copy = self._place(number)
        item, request = self.items[place], self._request
        name = item.name if copy is None else copy_name(item.name, copy, request.copies)
        output = item.path if request.output is None else os.path.join(request.output, name)
        stream, others = request.stream or item.stream, place >= self._inputs
        return Task(
            number,
            Job(item.path, output, stream, copy or 0, request.writing),
            output if request.output is None else name,
            item.stamp or self._stamps[place],
            untouched=others or copy == 0,
            tensors=not others,
        )

    def nbytes(self, number: int) -> int:
        """The size of the source."""
        return self._stamps[self._place(number)[0]].nbytes

    def _place(self, number: int) -> tuple[int, int | None]:
        """The place of a task's file in `items`, and the copy, None without copies."""
        more = len(self) - len(self.items)
        if self._copies and number < self._inputs + more:
            place, index = divmod(number, len(self._copies))
            return place, self._copies[index]
        return number - more, None


class Waiting:
    """The tasks that are not done, each made on demand, and the `sizes` of their files."""

    def __init__(
        self, tasks: Tasks, request: Request, journal: Journal | None, tally: Tally
    ) -> None:
        self._tasks, self._journal = tasks, journal
        self._forced = replace(request.writing, force=True)
        self._numbers: Sequence[int] = range(len(tasks))
        if journal and journal.is_known:
            self._numbers = array("Q", _left(tasks, journal, tally))
        self.sizes = array("Q", map(tasks.nbytes, self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Task]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> Task:
        task = self._tasks[self._numbers[place]]
        if self._journal and self._journal.knows(task.name):  # an earlier run wrote it
            return task._replace(job=task.job._replace(writing=self._forced))
        return task


def _left(tasks: Iterable[Task], journal: Journal, tally: Tally) -> Iterator[int]:
    """The numbers of the tasks that are not done. Those that are done are tallied."""
    for task in tasks:
        job = task.job
        source = None if job.writing.in_place else task.stamp
        found = journal.confirm(task.name, job.output, job.stream, job.copy, source)
        if found and (outcome := recall(task, found)):
            tally.add(outcome)
        else:
            yield task.number


@dataclass
class Plan:
    """The tasks of a run in the order of the report, and the inputs that cannot be planned."""

    tasks: Tasks
    failures: list[DropcliError] = field(default_factory=list)
    _files: "array[int]" = field(default_factory=lambda: array("q"))  # hashes of identities

    def add(self, inputs: list[Input], others: list[Input]) -> None:
        """Add tasks for files that hold tensors and for others, each file once."""
        twice = _repeated(item.name for item in chain(inputs, others))
        seen = set()
        for number, item in enumerate(chain(inputs, others)):
            try:
                stamp, file = _look_at(item)
            except DropcliError as error:
                self.failures.append(error)
                continue
            if hash(item.name) in twice:
                if (item.name, file) in seen:
                    continue
                seen.add((item.name, file))
            self.tasks.add(item, stamp, others=number >= len(inputs))
            self._files.append(hash(file))

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
        there = self._existing(request.output)
        self._check_inputs(there, whole, request)
        if (there or request.used_journals) and not request.continues:
            existing = [self.tasks[number].job.output for number in there.values()]
            existing = existing or request.used_journals
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
        twice = _repeated(chain(seen, (resolve(task.job.output) for task in self.tasks)))
        for task in self.tasks if twice else ():
            source, output = task.job.source, resolve(task.job.output)
            if hash(output) in twice and (first := seen.setdefault(output, source)) != source:
                raise UsageError(
                    "collision",
                    f"would be the output of both '{first}' and '{source}'",
                    "give the folder above both, or run them one by one",
                    task.job.output,
                )

    def _existing(self, folder: str) -> dict[int, int]:
        """The tasks whose outputs exist already; keys are hashes of the identities of outputs."""
        found: dict[int, int] = {}
        stamps = stamps_below(folder) if is_url(folder) else None
        if stamps is None and not os.path.lexists(folder):
            return found
        for task in self.tasks:
            output = task.job.output
            if (file := identity(output)) and (stamps is None or output in stamps):
                found.setdefault(hash(file), task.number)
        return found

    def _check_inputs(self, there: dict[int, int], whole: Found, request: Request) -> None:
        """Raise UsageError for an existing output that is an input, also of another shard."""
        own = zip(self.tasks.items, self._files, strict=True)
        suspects = [(item, file) for item, file in own if file in there]
        if there and request.shard:  # the inputs of other shards have not been examined
            folder = os.path.join(os.path.abspath(request.output or ""), "")
            inside = (i for i in whole.inputs if os.path.abspath(i.path).startswith(folder))
            suspects += [(item, hash(identity(item.path))) for item in inside]
        for item, file in suspects:
            output = self.tasks[there[file]].job.output if file in there else ""
            if output and identity(item.path) == identity(output):
                raise UsageError(
                    "same-file",
                    f"is also an input, as '{item.path}'",
                    "write to another folder, or replace the inputs with --in-place",
                    output,
                )


def _repeated(keys: Iterable[Hashable]) -> set[int]:
    """The hashes that several keys share, found without a set of all keys, which is large."""
    return {one for one, other in pairwise(sorted(map(hash, keys))) if one == other}


def _look_at(item: Input) -> tuple[Stamp, Identity]:
    """The stamp of an input, and the identity that all its names share."""
    with located(item.path):
        if is_url(item.path):
            return item.stamp or Stamp.of(item.path), identity(item.path) or ("", "")
        status = os.stat(item.path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("not-a-file", "is a pipe or a device, not a file")
        return Stamp.from_status(status), identity_of(status)


def shared_streams(tasks: Tasks) -> Iterator[Notice]:
    """The warning about files with the same name in mask keys, such as `a.pt` and `a.bin`."""
    twice = _repeated((task.job.stream, task.job.copy) for task in tasks)
    first: dict[tuple[str, int], str] = {}
    shared = []
    for task in tasks if twice else ():
        job = task.job
        if hash(key := (job.stream, job.copy)) in twice:
            other = first.setdefault(key, job.source)
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
    plan = Plan(Tasks(request), list(found.failures))
    copied = found.others if request.copy_others else []
    # Pipes and devices cannot be kept.
    plan.add(found.inputs, [item for item in copied if not _is_special(item.path)])
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
