"""What `dropcli apply` does once its options are read: one file, or a dataset."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dropcli import __version__, console
from dropcli.batch import run_batch
from dropcli.discover import Found, discover, parse_list
from dropcli.dropout import Dropout
from dropcli.errors import Interrupted, UsageError, located
from dropcli.journal import settings_of
from dropcli.plan import Request, plan_batch
from dropcli.progress import progress
from dropcli.reader import STDIN, place_of
from dropcli.report import Report, check_stats_path, write_stats
from dropcli.run import Job, goes_to_stdout, run_file, stream_of
from dropcli.tally import Tally


@dataclass(frozen=True)
class Show:
    """How a command reports."""

    json: bool
    stats: str | None
    quiet: bool
    verbose: bool


def apply_file(source: str, request: Request, dropout: Dropout, drawn: bool, show: Show) -> int:
    """Drop one file into one; `drawn` says that the seed was not given."""
    target = _target(source, request.output)
    if goes_to_stdout(target):
        _check_stdout(show.json)
    job = Job(
        source,
        target,
        request.stream or stream_of(source),
        force=request.force,
        in_place=request.output is None,
        provenance=request.provenance,
        dry_run=request.dry_run,
        concat=request.joined_copies,
    )
    if show.stats:
        check_stats_path(show.stats, [source, target], replace=request.force or request.dry_run)

    with progress(not show.quiet, lines=False) as shown:

        def on_total(total: int) -> Callable[[int], None]:
            shown.begin(1, total)
            return lambda count: shown.advance(nbytes=count)

        file = run_file(job, dropout, on_total)
    report = Report(__version__, "apply", dropout.settings(), [file])
    if show.stats and not request.dry_run:
        write_stats(show.stats, report, replace=request.force)

    if show.json:
        console.write_out(report.to_json())
    elif not show.quiet:
        on_stderr = goes_to_stdout(target)
        console.show_file(file, dropout.settings(), on_stderr=on_stderr, verbose=show.verbose)
    elif drawn and not request.provenance and not dropout.eval:
        console.note(f"seed {dropout.seed}")  # nothing else remembers it
    if not show.quiet:
        for warning in [*dropout.warnings(), *file.warnings(verbose=show.verbose)]:
            console.warn(warning)
    return 0


def apply_dataset(
    operands: list[str],
    listed: list[str] | None,
    request: Request,
    dropout: Dropout,
    drawn: bool,
    show: Show,
) -> int:
    """Drop every file of a dataset; a file that fails costs itself alone."""
    if request.output is not None:
        _check_folder(request)
    if drawn and request.resume:
        dropout = _resumed(request, dropout)
    found = discover(operands, listed, request.output)
    if dropout.rng == "torch" and len(found.inputs) != 1:
        raise UsageError(
            "torch-several",
            "--rng torch: expected one input, got several",
            "torch's masks depend on the seed alone: all files would have the same",
        )
    if request.stream and len(found.inputs) != 1:
        raise UsageError(
            "stream-of-several",
            "--stream: expected one input, got several",
            "files of a dataset are called by their paths in it",
        )
    plan = plan_batch(request, found)
    if show.stats:
        paths = [path for task in plan.tasks for path in (task.job.source, task.job.output)]
        replacing = request.force or request.resume or request.dry_run
        check_stats_path(show.stats, paths, replace=replacing)
    if not show.quiet:
        _announce(found, request, dropout, drawn)

    tally = Tally(keep=bool(show.json or show.stats or show.verbose))
    tally.inputs = len(found.inputs)
    tally.left = 0 if request.copy_others else len(found.others)
    started = time.monotonic()
    try:
        with progress(not show.quiet, lines=True) as shown:
            run_batch(plan, request, dropout, tally, shown)
    except Interrupted as stop:
        stop.done = f"{tally.done:,} of {tally.planned:,} files are done"
        if drawn and request.output is None:
            stop.words = ("--seed", str(dropout.seed))
        raise
    _report(tally, request, dropout, show, time.monotonic() - started)
    return 0 if not tally.errors else 3 if tally.done else 1


def _announce(found: Found, request: Request, dropout: Dropout, drawn: bool) -> None:
    """What is good to know before the work."""
    for note in [*dropout.warnings(), *found.notes]:
        console.warn(note)
    if drawn and request.output is None and not dropout.eval:
        console.note(f"seed {dropout.seed}")  # to resume with, should the run be interrupted


def _report(tally: Tally, request: Request, dropout: Dropout, show: Show, seconds: float) -> None:
    """The table or the document, what took how long, and at the end every failure."""
    settings = dropout.settings()
    errors = [error.document() for error in tally.errors]
    report = Report(__version__, "apply", settings, [*tally.files], errors)
    if show.stats and not request.dry_run:
        write_stats(show.stats, report, replace=request.force or request.resume)
    if show.json:
        console.write_out(report.to_json())
    elif not show.quiet:
        console.show_tally(tally, request, settings, verbose=show.verbose)
    if not (show.quiet or request.dry_run):
        console.show_time(tally, seconds)
    if not show.quiet:
        console.warn_all([text for _, text in sorted(tally.warnings)], verbose=show.verbose)
    for error in tally.errors:
        console.show_error(error)


def read_list(path: str, null: bool) -> list[str]:
    """The paths in a file, `-` for standard input: a line each, or ended by null bytes."""
    with (
        located(place_of(path)),
        open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file,
    ):
        return parse_list(file.read(), null)


def _resumed(request: Request, dropout: Dropout) -> Dropout:
    """Resume with the seed that was drawn when the run began."""
    if request.output is None:
        if dropout.eval:
            return dropout
        raise UsageError(
            "resume-without-seed",
            "--resume: expected --seed with --in-place, got none",
            "`dropcli info FILE` of a file that is done shows the seed",
        )
    seed = (settings_of(request.journal) or {}).get("seed")
    return replace(dropout, seed=seed) if isinstance(seed, int) else dropout


def _check_folder(request: Request) -> None:
    """Find before any work that the output is no folder, and cannot become one."""
    output = request.output or ""
    if goes_to_stdout(output):
        raise UsageError("several-on-stdout", "-o: expected a folder for several files, got '-'")
    looks_like_file = os.path.splitext(output)[1].lower() in (".pt", ".pth", ".safetensors")
    if os.path.isdir(output) or not (os.path.lexists(output) or looks_like_file):
        return
    hint = "--concat writes all copies into one file" if request.copies else None
    raise UsageError(
        "not-a-folder", f"-o: expected a folder for several files, got '{output}'", hint
    )


def _target(source: str, output: str | None) -> str:
    """Where the output goes; into a folder it keeps the input's name, as with `cp`."""
    if output is None:
        if not os.path.isfile(source) and (source == STDIN or os.path.exists(source)):
            raise UsageError(
                "in-place-pipe", f"--in-place: expected a file, got '{source}'", "use -o -"
            )
        return source
    if source != STDIN and os.path.isdir(output):
        return os.path.join(output, os.path.basename(source))
    if output.endswith("/"):
        hint = f"mkdir -p {shlex.quote(output)}"
        raise UsageError("no-folder", f"-o: expected a folder, got '{output}'", hint)
    return output


def _check_stdout(json: bool) -> None:
    """Standard output is for the tensors, and for nothing else."""
    if json:
        raise UsageError(
            "two-on-stdout",
            "expected one thing on standard output, got the tensors and --json",
            "write the report to a file with --stats report.json",
        )
    if sys.stdout is None:
        raise UsageError("closed", "-o -: expected standard output to be open, got it closed")
    if sys.stdout.isatty():
        raise UsageError(
            "stdout-is-a-terminal",
            "-o -: expected standard output to be a file or a pipe, got a terminal",
            "redirect it, as in `> y.safetensors`",
        )
