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
from dropcli.dataset.outputs import copy_names, is_made_folder
from dropcli.dataset.tasks import Task
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import Identity, identity, identity_of, is_file
from dropcli.pipeline import Job, Notice, Writing


@dataclass(frozen=True)
class Request:
    """What is asked for besides the settings of dropout.

    `output` is a file or a folder, None to replace the inputs; `walked` is the first folder among
    the inputs.

    Raises:
        UsageError: options that contradict one another.
    """

    output: str | None
    walked: str | None = None
    stream: str | None = None  # of a single input
    copies: int = 0
    keep_original: bool = False
    concat: bool = False
    copy_others: bool = False
    mask: bool = False
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    provenance: bool = True
    sync: bool = True  # whether outputs are on the disk before they are published
    fail_fast: bool = False
    seed_drawn: bool = False
    jobs: int | None = None  # None: as many workers as are useful
    stats: str | None = None  # where the report is also written
    statistics: bool = True  # of a single file, where they double the time
    in_dataset: bool = False
    keep_files: bool = True  # whether the report lists every file of a dataset

    def __post_init__(self) -> None:
        in_place, single = self.output is None, not self.copies
        unrecorded = in_place and self.resume and not self.provenance
        for wrong, code, message in (
            (in_place and not single, "copies-in-place", "--copies needs -o FOLDER"),
            (
                single and self.keep_original,
                "original-without-copies",
                "--keep-original needs --copies",
            ),
            (single and self.concat, "concat-without-copies", "--concat needs --copies"),
            (in_place and self.copy_others, "others-in-place", "--copy-others needs -o FOLDER"),
            (unrecorded, "resume-without-provenance", "--resume with --in-place needs provenance"),
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
        """How each output is written."""
        return Writing(
            in_place=self.output is None,
            force=self.force,
            provenance=self.provenance,
            sync=self.sync,
            dry_run=self.dry_run,
            concat=self.joined_copies,
            mask=self.mask,
            # The journal records them.
            statistics=(self.statistics or self.in_dataset) and not self.mask,
            make_folder=self.output is not None and is_made_folder(self.output),
            in_dataset=self.in_dataset,
        )

    @property
    def journal(self) -> str | None:
        """Where the journal lies: in the output folder or, in place, in the one that is walked."""
        if self.output is not None:
            return os.path.join(self.output, JOURNAL)
        return os.path.join(self.walked, JOURNAL_IN_PLACE) if self.walked else None

    @property
    def continues(self) -> bool:
        """Whether outputs that exist are no obstacle."""
        return self.resume or self.force


@dataclass
class Plan:
    """What is to be done, in the order of the report, and what cannot be."""

    tasks: list[Task] = field(default_factory=list)
    failures: list[DropcliError] = field(default_factory=list)
    _sources: dict[Identity, str] = field(default_factory=dict)
    _seen: set[tuple[str, Identity]] = field(default_factory=set)

    def add(self, request: Request, item: Input, *, others: bool) -> None:
        """A task for each output of this file; `others` if it does not hold tensors."""
        try:
            with located(item.path):
                status = os.stat(item.path)
                if not stat.S_ISREG(status.st_mode):
                    raise FileError("not-a-file", "is a pipe or a device, not a file")
        except DropcliError as error:
            self.failures.append(error)
            return
        file = identity_of(status)
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
                    Stamp.from_status(status),
                    untouched=others or (copy == 0 and not single),
                    tensors=not others,
                )
            )

    def check(self, request: Request) -> None:
        """UsageError for outputs that collide or are inputs, FileError for those that exist."""
        self._check_collisions(request)
        if request.output is None:
            if _is_used(request.journal) and not request.continues:
                raise FileError(
                    "interrupted-run",
                    "an interrupted run has already replaced some files",
                    "continue it with --resume, or drop all files again with --force",
                    request.journal,
                )
            return
        existing = self._existing(request)
        if not existing and _is_used(request.journal):
            existing = [request.journal or ""]
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
        if request.output is not None:
            seen[os.path.normpath(os.path.join(request.output, JOURNAL))] = "the journal"
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

    def _existing(self, request: Request) -> list[str]:
        """Outputs that are there already; UsageError for one that is an input."""
        found = []
        for task in self.tasks:
            output = identity(task.job.output)
            if output is None:
                continue
            if source := self._sources.get(output):
                raise UsageError(
                    "same-file",
                    f"is also an input, as '{source}'",
                    "write to another folder, or replace the inputs with --in-place",
                    task.job.output,
                )
            found.append(task.job.output)
        return found


def _is_used(journal: str | None) -> bool:
    return journal is not None and is_file(journal) and os.path.getsize(journal) > 0


def shared_streams(tasks: list[Task]) -> Iterator[Notice]:
    """The warning about files with one name in mask keys, as `a.pt` and `a.bin`."""
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
            f"'{other}' and '{job.source}'{more} are both called '{job.stream}' in mask keys, so "
            "tensors of the same name get the same mask",
        )


def plan_batch(request: Request, found: Found) -> Plan:
    """The plan for these files; raises for what must be settled before any work."""
    plan = Plan(failures=list(found.failures))
    for item in found.inputs:
        plan.add(request, item, others=False)
    for item in found.others if request.copy_others else ():
        if not _is_special(item.path):  # pipes and devices hold nothing
            plan.add(request, item, others=True)
    if not (plan.tasks or plan.failures):
        count = len(found.others)
        raise FileError(
            "no-files",
            "no .safetensors or .pt files" + (f", only others ({count:,})" if count else ""),
            "name files of another suffix one by one, or with a glob" if count else None,
            ", ".join(found.folders) or None,
        )
    plan.check(request)
    return plan


def _is_special(path: str) -> bool:
    try:
        return not is_file(path)
    except DropcliError:
        return False  # opening it says why
