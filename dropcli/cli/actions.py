"""What `dropcli apply` and `verify` do once their options are read."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dropcli.__version__ import __version__
from dropcli.cli import console
from dropcli.cli.progress import progress
from dropcli.dataset.discover import Found, discover, parse_list
from dropcli.dataset.plan import Request, plan_batch
from dropcli.dataset.request import job_of, prepare
from dropcli.dataset.run import run_batch, worker_died
from dropcli.dataset.tally import Tally
from dropcli.dropout.settings import Dropout
from dropcli.errors import FileError, Interrupted, UsageError, located
from dropcli.files import STDIN, goes_to_stdout, is_folder, place_of
from dropcli.parallel.engines import choose_engine
from dropcli.pipeline.job import run_file
from dropcli.pipeline.report import Report, check_stats_path, write_stats


@dataclass(frozen=True)
class Show:
    """How a command reports."""

    json: bool
    stats: str | None
    quiet: bool
    verbose: bool


def apply_file(source: str, request: Request, dropout: Dropout, drawn: bool, show: Show) -> int:
    """Drop one file into one; `drawn` says that the seed was not given."""
    asked = not show.quiet or show.json or show.stats is not None
    job = replace(job_of(source, request), statistics=asked)
    if goes_to_stdout(job.output):
        _check_stdout(show.json)
    if show.stats:
        replacing = request.force or request.dry_run
        check_stats_path(show.stats, [source, job.output], replace=replacing)

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
        on_stderr = goes_to_stdout(job.output)
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
    found, request, dropout = prepare(operands, listed, request, dropout, drawn=drawn)
    plan = plan_batch(request, found)
    if show.stats:
        paths = [path for task in plan.tasks for path in (task.job.source, task.job.output)]
        paths += [request.journal] if request.journal else []
        replacing = request.force or request.resume or request.dry_run
        check_stats_path(show.stats, paths, replace=replacing, made=request.output)
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
        if drawn and request.journal is None and not dropout.eval:
            stop.words = ("--seed", str(dropout.seed))
        raise
    _report(tally, request, dropout, show, time.monotonic() - started)
    return 0 if not tally.errors else 3 if tally.done else 1


def verify_outputs(outputs: list[str], source: str, jobs: int | None, show: Show) -> int:
    """Derive outputs again, and compare."""
    from dropcli.dataset.verify import Verdict, verify_work

    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        message = f"--source: expected a file or a folder, got '{source}'"
        raise UsageError("no-source", message) from None
    except OSError:
        pass  # opening it will tell
    found = discover(outputs, None, None)
    if not (found.inputs or found.failures):
        raise FileError("no-files", "expected files to verify, got none", None, outputs[0])
    mirrored = bool(found.folders) and is_folder(source)
    sizes = [
        os.path.getsize(item.path) if os.path.isfile(item.path) else 0 for item in found.inputs
    ]
    errors, verdicts = list(found.failures), []
    engine = choose_engine(
        partial(verify_work, source, mirrored), sizes, jobs, "dropcli.dataset.verify"
    )
    order = {item: number for number, item in enumerate(found.inputs)}
    with progress(not show.quiet, lines=True) as shown:
        shown.begin(len(sizes), sum(sizes))
        chunks = (found.inputs[start : start + 16] for start in range(0, len(sizes), 16))
        for item, verdict in engine.run(chunks, lambda count: shown.advance(nbytes=count)):
            verdict = verdict or Verdict(item.path, error=worker_died(item.path))
            verdicts.append((order[item], verdict))
            shown.advance(files=1, failed=int(bool(verdict.error or verdict.difference)))
    done = [verdict for _, verdict in sorted(verdicts, key=lambda pair: pair[0])]
    errors += [verdict.error for verdict in done if verdict.error]
    compared = [verdict for verdict in done if not verdict.error]
    different = sum(bool(verdict.difference) for verdict in compared)

    documents = [error.document() for error in errors]
    report = Report(__version__, "verify", None, [*compared], documents, different)
    if show.json:
        console.write_out(report.to_json())
    elif not show.quiet:
        console.show_verdicts(compared, verbose=show.verbose)
    for error in errors:
        console.show_error(error)
    if different:
        return 4
    return 0 if not errors else 3 if compared else 1


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
    if not (show.quiet or request.dry_run) and tally.written:
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
