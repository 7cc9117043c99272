"""`dropcli apply`: drop elements of a file or a dataset."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dropcli.__version__ import __version__
from dropcli.cli import console, options
from dropcli.errors import Interrupted, UsageError
from dropcli.parallel import signals

if TYPE_CHECKING:
    from dropcli.dataset.discover import Found
    from dropcli.dataset.plan import Request
    from dropcli.dataset.tally import Tally
    from dropcli.dropout import Dropout

_MANY = 300  # files, for which starting workers is worth while


class ReportOptions(NamedTuple):
    """How a command reports."""

    json: bool
    stats: str | None
    quiet: bool
    verbose: bool


def apply(
    inputs: options.Inputs = None,
    output: options.Output = None,
    in_place: options.InPlace = False,
    p: options.P = 0.5,
    p_per: options.PPer = None,
    seed: options.Seed = None,
    stream: options.Stream = None,
    mode: options.Mode = None,
    over: options.Dims = None,
    key: options.Key = None,
    exclude: options.Exclude = None,
    all_floats: options.AllFloats = False,
    rescale: options.Rescale = True,
    fill: options.Fill = None,
    alpha: options.Alpha = False,
    exact: options.Exact = False,
    min_keep: options.MinKeep = None,
    rng: options.Rng = None,
    evaluation: options.Evaluation = False,
    copies: options.Copies = 0,
    keep_original: options.KeepOriginal = False,
    concat: options.Concat = False,
    files_from: options.FilesFrom = None,
    null: options.Null = False,
    copy_others: options.CopyOthers = False,
    force: options.Force = False,
    resume: options.Resume = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    jobs: options.Jobs = 0,
    stats: options.Stats = None,
    json: options.Json = False,
    provenance: options.Provenance = True,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Drop elements or channels, and write the result.

    \b
    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli apply x.safetensors -o y.safetensors --mode channel -k images
      dropcli apply x.safetensors --in-place -p 0.1
      dropcli apply data/ -o augmented/ -p 0.2 --seed 7 --copies 3
      cat x.safetensors | dropcli apply - -o - -p 0.2 > y.safetensors

    Dropped elements become zero and the others are scaled by 1/(1-p), exactly as
    torch.nn.Dropout does. The same seed gives the same bytes on every machine.
    """  # noqa: D301
    with signals.deferred():
        import secrets

        from dropcli.dataset import WORKER_MODULE
        from dropcli.dataset.discover import has_many, read_list
        from dropcli.parallel import usable_cores

        if jobs != 1 and usable_cores() > 1 and has_many(list(inputs or ()), _MANY):
            from dropcli.parallel import warm_up

            warm_up(WORKER_MODULE)  # which takes as long as the imports that follow
        from dropcli.dataset.plan import Request
        from dropcli.dataset.request import choose_output, is_dataset
        from dropcli.dropout import Dropout, check_torch_input

    operands = list(inputs or ())
    _check_words(operands, files_from, null=null, quiet=quiet, verbose=verbose)
    request = Request(
        choose_output(output, in_place),
        stream=stream,
        copies=copies,
        keep_original=keep_original,
        concat=concat,
        copy_others=copy_others,
        force=force,
        resume=resume,
        dry_run=dry_run,
        provenance=provenance,
        fail_fast=fail_fast,
        jobs=jobs or None,
    )
    dropout = Dropout(
        p=p,
        seed=secrets.randbits(64) if seed is None else seed,
        mode=mode,
        over=over,
        rescale=rescale,
        fill=fill,
        key=tuple(key or ()),
        exclude=tuple(exclude or ()),
        all_floats=all_floats,
        eval=evaluation,
        p_per=p_per or "file",
        alpha=alpha,
        exact=exact,
        min_keep=min_keep,
        rng=rng or "dropcli",
    )
    check_torch_input(dropout.rng, stream, copies or None)
    show = ReportOptions(json=json, stats=stats, quiet=quiet, verbose=verbose)
    if files_from is None and not is_dataset(operands, request):
        return _apply_file(operands[0], request, dropout, seed is None, show)
    listed = None if files_from is None else read_list(files_from, null)
    return _apply_dataset(operands, listed, request, dropout, seed is None, show)


def _check_words(
    inputs: list[str], files_from: str | None, *, null: bool, quiet: bool, verbose: bool
) -> None:
    """UsageError for words of the command line that do not go together."""
    if quiet and verbose:
        raise UsageError("quiet-and-verbose", "expected -q or -v, got both")
    if not inputs and files_from is None:
        message = "missing argument: expected an INPUT, got none"
        raise UsageError("no-input", message, "dropcli apply --help")
    if null and files_from is None:
        raise UsageError("null", "-0: expected --files-from too, got none")


def _apply_file(
    source: str, request: "Request", dropout: "Dropout", drawn: bool, show: ReportOptions
) -> int:
    """Drop one file into one; `drawn` says that the seed was not given."""
    with signals.deferred():
        from dropcli.cli.progress import progress
        from dropcli.dataset.request import job_of
        from dropcli.files import goes_to_stdout
        from dropcli.pipeline.job import run_file
        from dropcli.pipeline.report import (
            Report,
            check_stats_path,
            settings_notices,
            write_stats,
        )

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
    about_settings = [*settings_notices(dropout)]
    notices = Counter([*about_settings, *file.notices()])
    report = Report(__version__, "apply", dropout.settings(), [file], notices=notices)
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
        about_file = ((source, notice) for notice in file.notices(verbose=show.verbose))
        notices_with_places = [*(("", notice) for notice in about_settings), *about_file]
        console.show_notices(notices_with_places, verbose=show.verbose)
    return 0


def _apply_dataset(
    operands: list[str],
    listed: list[str] | None,
    request: "Request",
    dropout: "Dropout",
    drawn: bool,
    show: ReportOptions,
) -> int:
    """Drop every file of a dataset; a file that fails costs itself alone."""
    with signals.deferred():
        from dropcli.cli.progress import progress
        from dropcli.dataset.plan import plan_batch
        from dropcli.dataset.request import prepare
        from dropcli.dataset.run import run_batch
        from dropcli.dataset.tally import Tally
        from dropcli.pipeline.report import check_stats_path

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


def _announce(found: "Found", request: "Request", dropout: "Dropout", drawn: bool) -> None:
    """What is good to know before the work."""
    from dropcli.pipeline.report import settings_notices

    for note in [*(n.message for n in settings_notices(dropout)), *found.notes]:
        console.warn(note)
    if drawn and request.output is None and not dropout.eval:
        console.note(f"seed {dropout.seed}")  # to resume with, should the run be interrupted


def _report(
    tally: "Tally", request: "Request", dropout: "Dropout", show: ReportOptions, seconds: float
) -> None:
    """The table or the document, what took how long, and at the end every failure."""
    from dropcli.pipeline.report import Report, write_stats

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
