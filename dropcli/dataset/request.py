"""What the user requested: paths of outputs, names of inputs and ways of working."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dropcli.dataset.discover import discover, is_several
from dropcli.dataset.journal import Shard, journal_name, journals_beside, settings_of
from dropcli.dataset.outputs import check_folder, file_target
from dropcli.dataset.walk import Found
from dropcli.dropout import Dropout
from dropcli.errors import UsageError
from dropcli.files import first_line, is_folder, is_made_folder, is_piped
from dropcli.pipeline import Job, Notice, Writing, stream_of

if TYPE_CHECKING:
    from concurrent.futures import Executor


@dataclass(frozen=True)
class Request:
    """The options of a run besides the settings of dropout.

    `output` is a file or a folder; None means to replace the inputs. `walked` is the first folder
    among the inputs.

    Raises:
        UsageError: options contradict each other.
    """

    output: str | None
    walked: str | None = None
    stream: str | None = None  # for a single input
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
    shard: Shard | None = None  # the part of the files to process
    jobs: int | None = None  # None: as many workers as are useful
    executor: "Executor | None" = None  # use its workers instead of our own
    scheduler: str | None = None  # use the workers of this Dask scheduler
    stats: str | None = None  # also write the report to this file
    statistics: bool = True  # for a single file they double the time
    sample: int = 0  # the number of elements of a tensor to sample in each output
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
            (
                self.jobs and (self.executor or self.scheduler),
                "jobs-and-engine",
                "-j sets the number of local processes, but the engine has its own workers",
            ),
            (unrecorded, "resume-without-provenance", "--resume with --in-place needs provenance"),
        ):
            if wrong:
                raise UsageError(code, message)
        if self.shard and self.seed_drawn:
            message = "--shard needs --seed, otherwise each shard would draw its own"
            raise UsageError("shard-without-seed", message, "add the same --seed to all shards")

    @property
    def all_copies(self) -> range:
        """The numbers of the copies; 0 is the unchanged one."""
        return range(0 if self.keep_original else 1, self.copies + 1)

    @property
    def joined_copies(self) -> tuple[int, ...]:
        """The numbers of the copies that are joined in one file; empty if each has its own."""
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
            # The journal records them already.
            statistics=(self.statistics or self.in_dataset) and not self.mask,
            sample=self.sample,
            make_folder=self.output is not None and is_made_folder(self.output),
            in_dataset=self.in_dataset,
        )

    @property
    def journal(self) -> str | None:
        """The path of the journal: in the output folder or, in place, in the input folder."""
        in_place = self.output is None
        folder = self.walked if in_place else self.output
        return os.path.join(folder, journal_name(self.shard, in_place=in_place)) if folder else None

    @property
    def other_journals(self) -> list[tuple[str, Shard | None]]:
        """The other journals in the same folder: those of shards, or of the whole run."""
        return [*journals_beside(self.journal)] if self.journal else []

    @property
    def used_journals(self) -> list[str]:
        """The journals of earlier runs, without those of this run and of its other shards."""
        total = self.shard and self.shard.total
        others = (path for path, shard in self.other_journals if not shard or shard.total != total)
        own = [self.journal] if self.journal else []
        return [path for path in (*own, *others) if first_line(path) is not None]

    @property
    def makes_page(self) -> bool:
        """Whether the report is a page in HTML."""
        return not self.dry_run and (self.stats or "").lower().endswith(".html")

    @property
    def continues(self) -> bool:
        """Whether outputs may exist already."""
        return self.resume or self.force


def choose_output(output: str | None, in_place: bool) -> str | None:
    """The output given by `-o` and `--in-place`; None means to replace the inputs."""
    if in_place and output is not None:
        raise UsageError("two-outputs", "-o and --in-place cannot be combined")
    if not in_place and output is None:
        raise UsageError(
            "no-output",
            "no output is given",
            "add -o OUTPUT, -o - for standard output, or --in-place to replace the input",
        )
    return output


def is_dataset(operands: list[str], request: Request) -> bool:
    """Whether there are several inputs or outputs.

    Raises UsageError for options that need several.
    """
    if is_several(operands) or (request.copies and not request.concat):
        return True
    output = request.output
    into_folder = output is None or is_made_folder(output) or is_folder(output)
    for option, given in (
        ("--resume", request.resume),
        ("--fail-fast", request.fail_fast),
        ("--copy-others", request.copy_others),
        ("--shard", bool(request.shard)),
        ("--engine", bool(request.scheduler or request.executor)),
    ):
        if given and not into_folder:
            raise UsageError(
                "one-file",
                f"{option} needs a folder or several files",
                f"run it without {option}, since one file is always done as a whole",
            )
        if given:
            return True
    return False


def job_of(source: str, request: Request) -> Job:
    """The job for one input and one output; in a folder the output keeps the input's name."""
    if request.output is not None:
        target = file_target(source, request.output)
    elif is_piped(source):
        message = f"--in-place: '{source}' is not a file"
        raise UsageError("in-place-pipe", message, "write it with -o -")
    else:
        target = source
    return Job(source, target, request.stream or stream_of(source), writing=request.writing)


def stream_notices(source: str, request: Request, dropout: Dropout) -> Iterator[Notice]:
    """The warning about a pipe: with the same seed, all pipes get the same mask."""
    depends = not (dropout.drops_nothing or dropout.rng == "torch")
    if depends and is_piped(source) and not (request.seed_drawn or request.stream):
        yield Notice(
            "stream-of-pipe",
            "input from a pipe has no name, so every piped file gets the same mask with this seed; "
            "give each a name with --stream",
        )


def prepare_several(
    operands: list[str], listed: list[str] | None, request: Request, dropout: Dropout
) -> tuple[Found, Request, Dropout]:
    """Find the files of a dataset; return them with the completed request and settings."""
    if request.output is not None:
        check_folder(request.output, operands, copies=request.copies > 0 and not request.concat)
    found = discover(operands, listed, request.output)
    walked = found.folders[0] if found.folders else None
    request = replace(request, walked=walked, in_dataset=True)
    if request.seed_drawn and request.resume:
        dropout = _resumed(request, dropout)
    if len(found.inputs) != 1 and dropout.rng == "torch":
        message = "--rng torch takes one input, since all files would get the same mask"
        raise UsageError("torch-several", message)
    if len(found.inputs) != 1 and request.stream:
        message = "--stream takes one input: with several files, each uses its own path"
        raise UsageError("stream-of-several", message)
    return found, request, dropout


def _resumed(request: Request, dropout: Dropout) -> Dropout:
    """The settings with the seed that was drawn when the run began."""
    paths = [request.journal, *(path for path, _ in request.other_journals)]
    known = (settings_of(path) for path in paths if path)
    settings = next(filter(None, known), None)
    seed = (settings or {}).get("seed")
    if request.output is None and settings is None and not dropout.eval:
        raise UsageError(
            "resume-without-seed",
            "--resume with --in-place needs --seed",
            "`dropcli info FILE` shows the seed of a file that is done",
        )
    return replace(dropout, seed=seed) if isinstance(seed, int) else dropout
