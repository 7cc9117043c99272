"""What a dataset run will write: a task for each output, and whatever stands in its way.

All of it is found before any work: inputs that would write one output, outputs that exist, and
outputs that are inputs.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from dropcli.dataset.discover import Found, Input
from dropcli.dataset.journal import JOURNAL, JOURNAL_IN_PLACE, Stamp
from dropcli.dataset.names import copy_names
from dropcli.dataset.outputs import is_made_folder
from dropcli.dataset.tasks import Task
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import Identity, identity, identity_of, is_file
from dropcli.pipeline import Job, Notice, Writing


@dataclass(frozen=True)
class Request:
    """What is asked for a dataset. `output` is a folder, None to replace the inputs.

    `walked` is the first folder among the inputs. UsageError for what does not go together.
    """

    output: str | None
    walked: str | None = None
    stream: str | None = None  # of a single input
    copies: int = 0
    keep_original: bool = False
    concat: bool = False
    copy_others: bool = False
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    provenance: bool = True
    fail_fast: bool = False
    seed_drawn: bool = False
    jobs: int | None = None  # None for as many as are of use
    stats: str | None = None  # where the report is also written
    statistics: bool = True  # whether those of a single file are asked for, which take longer
    in_dataset: bool = False
    keep_files: bool = True  # whether the report holds every file of a dataset

    def __post_init__(self) -> None:
        in_place = self.output is None
        for wrong, code, message in (
            (
                self.copies > 0 and in_place,
                "copies-in-place",
                "--copies: expected -o FOLDER, got --in-place",
            ),
            (
                self.keep_original and not self.copies,
                "original-without-copies",
                "--keep-original: expected --copies too, got none",
            ),
            (
                self.concat and not self.copies,
                "concat-without-copies",
                "--concat: expected --copies too, got none",
            ),
            (
                self.copy_others and in_place,
                "others-in-place",
                "--copy-others: expected -o FOLDER, got --in-place",
            ),
            (
                self.resume and in_place and not self.provenance,
                "resume-without-provenance",
                "--resume: expected provenance with --in-place, which tells what is done, got none",
            ),
        ):
            if wrong:
                raise UsageError(code, message)

    @property
    def all_copies(self) -> range:
        """The numbers of the copies, 0 for the untouched one."""
        return range(0 if self.keep_original else 1, self.copies + 1)

    @property
    def joined_copies(self) -> tuple[int, ...]:
        """The copies that are written into one file, none if each has its own."""
        return tuple(self.all_copies) if self.concat else ()

    @cached_property
    def writing(self) -> Writing:
        """What each job is to know of this."""
        return Writing(
            in_place=self.output is None,
            force=self.force,
            provenance=self.provenance,
            dry_run=self.dry_run,
            concat=self.joined_copies,
            statistics=self.statistics or self.in_dataset,  # which the journal keeps
            make_folder=self.output is not None and is_made_folder(self.output),
            in_dataset=self.in_dataset,
        )

    @property
    def journal(self) -> str | None:
        """Where the journal lies: in the output folder or, in place, in the one that is walked."""
        if self.output is not None:
            return os.path.join(self.output, JOURNAL)
        return os.path.join(self.walked, JOURNAL_IN_PLACE) if self.walked else None


@dataclass
class Plan:
    """What is to be done, in the order of the report, and what cannot be."""

    tasks: list[Task] = field(default_factory=list)
    failures: list[DropcliError] = field(default_factory=list)
    _sources: dict[Identity, str] = field(default_factory=dict)
    _seen: set[tuple[str, Identity]] = field(default_factory=set)

    def add(self, request: Request, item: Input, *, others: bool) -> None:
        """A task for each output of this file; `others` if it is not one of tensors."""
        try:
            with located(item.path):
                status = os.stat(item.path)
                if not stat.S_ISREG(status.st_mode):
                    raise FileError("not-a-file", "expected a file, got a pipe or a device")
        except DropcliError as error:
            self.failures.append(error)
            return
        file = identity_of(status)
        if (item.name, file) in self._seen:  # given twice
            return
        self._seen.add((item.name, file))
        self._sources[file] = item.path
        stamp = Stamp(status.st_size, status.st_mtime_ns)
        for copy, name in [(0, item.name)] if others else _copies(request, item.name):
            untouched = others or (copy == 0 and request.copies > 0 and not request.concat)
            job = _job(request, item, name, copy)
            name = name if request.output is not None else job.output
            number, tensors, inode = len(self.tasks), not others, status.st_ino
            self.tasks.append(Task(number, job, name, stamp, inode, untouched, tensors))

    def check(self, request: Request) -> None:
        """UsageError for outputs that collide or are inputs, FileError for those that exist."""
        self._check_collisions(request)
        journal = request.journal if _is_used(request.journal) else None
        if request.output is None:
            if journal and not (request.resume or request.force):
                raise FileError(
                    "interrupted-run",
                    "expected untouched files, got some that an interrupted run has replaced",
                    "go on with --resume, or drop them all again with --force",
                    journal,
                )
            return
        existing = list(self._existing(request))
        if existing and not (request.resume or request.force):
            more = f", the first of {len(existing):,}" if len(existing) > 1 else ""
            raise FileError(
                "exists",
                f"expected a new name, got a file that exists{more}",
                "go on with --resume, or replace with --force",
                existing[0],
            )

    def _check_collisions(self, request: Request) -> None:
        seen: dict[str, str] = {}
        if request.output is not None:
            seen[os.path.normpath(os.path.join(request.output, JOURNAL))] = "the journal"
        resolve = os.path.normpath if request.output is not None else os.path.realpath
        for task in self.tasks:
            source, output = task.job.source, resolve(task.job.output)
            first = seen.setdefault(output, source)
            if first != source:
                raise UsageError(
                    "collision",
                    f"expected one input for each output, got '{first}' and '{source}'",
                    "give the folder above both, or run them one by one",
                    task.job.output,
                )

    def _existing(self, request: Request) -> Iterator[str]:
        """Outputs that are there already; UsageError for one that is an input."""
        found = False
        for task in self.tasks:
            output = identity(task.job.output)
            if output is None:
                continue
            if source := self._sources.get(output):
                raise UsageError(
                    "same-file",
                    f"expected an output other than the inputs, got '{source}'",
                    "write to another folder, or replace the inputs with --in-place",
                    task.job.output,
                )
            found = True
            yield task.job.output
        if not found and request.journal and _is_used(request.journal):
            yield request.journal


def _is_used(journal: str | None) -> bool:
    return journal is not None and is_file(journal) and os.path.getsize(journal) > 0


def _is_file(path: str) -> bool:
    try:
        return is_file(path)
    except DropcliError:
        return True  # opening it will tell


def shared_streams(tasks: list[Task]) -> Notice | None:
    """The warning about files with one name in mask keys, as `a.pt` and `a.bin`."""
    first: dict[tuple[str, int], str] = {}
    shared = []
    for task in tasks:
        job = task.job
        other = first.setdefault((job.stream, job.copy), job.source)
        if other != job.source and not task.untouched:
            shared.append((other, job))
    if not shared:
        return None
    other, job = shared[0]
    more = f" (and {len(shared) - 1:,} more like them)" if len(shared) > 1 else ""
    return Notice(
        "same-stream",
        f"'{other}' and '{job.source}'{more} are both called '{job.stream}' in mask keys, so "
        "tensors of the same name get the same mask",
    )


def plan_batch(request: Request, found: Found) -> Plan:
    """The plan for these files; raises for what must be settled before any work."""
    plan = Plan(failures=list(found.failures))
    for item in found.inputs:
        plan.add(request, item, others=False)
    if request.copy_others:
        for item in found.others:
            if _is_file(item.path):  # pipes and devices hold nothing
                plan.add(request, item, others=True)
    if not (plan.tasks or plan.failures):
        raise FileError(
            "no-files",
            f"expected .safetensors or .pt files, got none ({len(found.others):,} others)",
        )
    plan.check(request)
    return plan


def _copies(request: Request, name: str) -> Iterator[tuple[int, str]]:
    """The outputs of a file: copies and their names."""
    if not request.copies or request.concat:
        yield 0, name
        return
    yield from copy_names(name, request.all_copies, request.copies)


def _job(request: Request, item: Input, name: str, copy: int) -> Job:
    output = item.path if request.output is None else os.path.join(request.output, name)
    return Job(item.path, output, request.stream or item.stream, copy, request.writing)
