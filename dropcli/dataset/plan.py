"""What a dataset run will write: a task for each output, and whatever stands in its way.

All of it is found before any work: inputs that would write one output, outputs that exist, and
outputs that are inputs.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from dropcli.dataset.journal import Shard, Stamp, journal_name, journals_beside, stamps_below
from dropcli.dataset.outputs import copy_names
from dropcli.dataset.tasks import Task
from dropcli.dataset.walk import Found, Input
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import (
    Identity,
    first_line,
    identity,
    identity_of,
    is_file,
    is_made_folder,
    is_url,
)
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
    shard: Shard | None = None  # the part of the files that is done
    jobs: int | None = None  # None: as many workers as are useful
    stats: str | None = None  # where the report is also written
    statistics: bool = True  # of a single file, where they double the time
    sample: int = 0  # at most how many elements of a tensor are sampled in each output
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
        if self.shard and self.seed_drawn:
            message = "--shard needs --seed, or each shard would draw another"
            raise UsageError("shard-without-seed", message, "add the same --seed to all shards")

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
            sample=self.sample,
            make_folder=self.output is not None and is_made_folder(self.output),
            in_dataset=self.in_dataset,
        )

    @property
    def journal(self) -> str | None:
        """Where the journal lies: in the output folder or, in place, in the one that is walked."""
        in_place = self.output is None
        folder = self.walked if in_place else self.output
        return os.path.join(folder, journal_name(self.shard, in_place=in_place)) if folder else None

    @property
    def other_journals(self) -> list[tuple[str, Shard | None]]:
        """Those of shards, or of the whole, in the same folder."""
        return [*journals_beside(self.journal)] if self.journal else []

    @property
    def used_journals(self) -> list[str]:
        """The journals of earlier runs, which are not of this one and of its other shards."""
        total = self.shard and self.shard.total
        others = (path for path, shard in self.other_journals if not shard or shard.total != total)
        own = [self.journal] if self.journal else []
        return [path for path in (*own, *others) if first_line(path) is not None]

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
        """UsageError for outputs that collide or are inputs, FileError for those that exist."""
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
        """Outputs that are there already; UsageError for one that is an input."""
        found: dict[str, str] = {}  # by their absolute paths
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
        for item in whole.inputs if found else ():  # those of other shards have no identity here
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
    """The stamp of an input, and what all its names have in common."""
    with located(item.path):
        if is_url(item.path):
            return item.stamp or Stamp.of(item.path), identity(item.path) or ("", "")
        status = os.stat(item.path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("not-a-file", "is a pipe or a device, not a file")
        return Stamp.from_status(status), identity_of(status)


def shared_streams(tasks: list[Task]) -> Iterator[Notice]:
    """The warning about files with one name in mask keys, such as `a.pt` and `a.bin`."""
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
            f"'{other}' and '{job.source}'{more} share the mask name '{job.stream}', so tensors of "
            "the same name get the same mask",
        )


def plan_batch(request: Request, whole: Found) -> Plan:
    """The plan for these files, or for the shard; raises for what must be settled before work."""
    found = whole.part(request.shard) if request.shard else whole
    plan = Plan(failures=list(found.failures))
    for item in found.inputs:
        plan.add(request, item, others=False)
    for item in found.others if request.copy_others else ():
        if not _is_special(item.path):  # pipes and devices hold nothing
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
        return False  # opening it says why
