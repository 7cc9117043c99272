"""`dropcli apply`: drop elements of a file or a dataset."""

import glob
import os
import shlex
import sys
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dropcli.cli import options, run_options
from dropcli.cli.missing import add_hints, hint_of
from dropcli.cli.mistakes import no_input_hint
from dropcli.cli.terminal import console
from dropcli.errors import FileError, UsageError
from dropcli.parallel import signals

if TYPE_CHECKING:
    from dropcli.dataset import Dataset, SingleFile


@options.with_options(options.Dropping, run_options.Running)
def apply(inputs: options.Inputs = None, **chosen: Any) -> int:
    """Drop elements or channels of saved tensors, and write the result.

    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli apply x.safetensors -o y.safetensors --mode channel -k images
      dropcli apply x.safetensors --in-place -p 0.1
      dropcli apply data/ -o augmented/ -p 0.2 --seed 7 --copies 3
      cat x.safetensors | dropcli apply - -o - -p 0.2 > y.safetensors

    Dropped elements become zero and the others are scaled by 1/(1-p), exactly as
    torch.nn.Dropout does. The same seed gives the same bytes on every machine.
    """
    return run(inputs or [], chosen)


def run(inputs: list[str], chosen: dict[str, Any]) -> int:
    """Write outputs with the options of `Dropping` and `Running`, and show the report."""
    with signals.deferred():
        from dropcli.dataset import Request, Shard, SingleFile, choose_output, prepare, read_list

    command = "mask" if chosen.get("mask") else "apply"
    settings = options.settings_of(chosen)
    files_from, null, output = (chosen.pop(name) for name in ("files_from", "null", "output"))
    json, quiet, verbose = (chosen.pop(name) for name in ("json", "quiet", "verbose"))
    in_place, jobs, stats = chosen.pop("in_place", False), chosen.pop("jobs"), chosen["stats"]
    shard = chosen.pop("shard", None)
    chosen.pop("color")  # which was chosen before any of this
    _check_words(command, inputs, files_from, null=null, quiet=quiet, verbose=verbose)
    if output is None and not in_place:
        check_second(command, inputs)
    elif len(inputs) == 1 and not (chosen["force"] or in_place):
        _check_order(command, inputs[0], output)
    request = Request(
        choose_output(output, in_place),
        shard=None if shard is None else Shard.parse(shard),
        jobs=jobs or None,
        scheduler=_scheduler(chosen.pop("engine", ""), chosen.pop("scheduler", None)),
        statistics=json or stats is not None or not quiet,
        keep_files=json or stats is not None or verbose,
        **chosen,
    )
    listed = None if files_from is None else read_list(files_from, null)
    application = prepare(inputs, listed, request, **settings)
    drawn = application.request.seed_drawn
    if isinstance(application, SingleFile):
        return _run_file(application, drawn=drawn, json=json, quiet=quiet, verbose=verbose)
    return _run_dataset(application, inputs, drawn=drawn, json=json, quiet=quiet, verbose=verbose)


def _check_words(
    command: str,
    inputs: list[str],
    files_from: str | None,
    *,
    null: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    if quiet and verbose:
        raise UsageError("quiet-and-verbose", "-q and -v cannot be combined")
    if not inputs and files_from is None:
        raise UsageError("no-input", "missing argument: INPUT", no_input_hint(f"dropcli {command}"))
    if null and files_from is None:
        raise UsageError("null", "-0 needs --files-from")


def _scheduler(engine: str, address: str | None) -> str | None:
    """The scheduler whose workers process the files; None for processes on this machine."""
    if engine != "dask":
        if address:
            raise UsageError("scheduler-without-engine", "--scheduler needs --engine dask")
        return None
    address = address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        message = "--engine dask needs the address of a scheduler"
        raise UsageError("no-address", message, "add --scheduler tcp://HOST:8786")
    return address


def check_second(command: str, inputs: list[str]) -> None:
    """Raise UsageError for `x.pt y.pt`, the form of `cp`, if there is no y.pt."""
    if len(inputs) == 2 and not os.path.lexists(inputs[1]):
        hint = f"dropcli {command} {shlex.quote(inputs[0])} -o {shlex.quote(inputs[1])}"
        raise UsageError("no-output", "no output is given", hint)


def _check_order(command: str, source: str, output: str) -> None:
    """Raise FileError for `-o x.pt y.pt` if x.pt exists and y.pt does not."""
    is_name = PurePath(source).suffix in (".pt", ".pth", ".safetensors") and ":" not in source
    there = os.path.lexists(source) or glob.has_magic(source)
    if is_name and not there and os.path.isfile(output) and not hint_of(source):
        hint = f"did you mean dropcli {command} {shlex.quote(output)} -o {shlex.quote(source)}?"
        raise FileError("os-error", "no such file or directory", hint, source)


def _run_file(
    application: "SingleFile", *, drawn: bool, json: bool, quiet: bool, verbose: bool
) -> int:
    from dropcli.cli.terminal.progress import progress
    from dropcli.files import goes_to_stdout, place_of
    from dropcli.report import printable

    if to_stdout := goes_to_stdout(application.job.output):
        _check_stdout(json)
    label = printable(place_of(application.job.source))
    with progress(label, enabled=not quiet, lines=False) as shown:
        report = application.run(shown)
    file, dropout = application.file, application.dropout
    if json:
        console.write_out(report.to_json())
    elif not quiet:
        console.show_file(file, dropout.settings(), on_stderr=to_stdout, verbose=verbose)
    elif drawn and not application.request.provenance and not dropout.eval:
        console.note(f"seed {dropout.seed}")  # it is recorded nowhere else
    if not quiet:
        about_all = [("", notice) for notice in application.notices]
        about_file = [(file.source, notice) for notice in file.notices(verbose=verbose)]
        console.show_notices([*about_all, *about_file], verbose=verbose)
        if not json:
            console.show_file_success(file, on_stderr=to_stdout)
    return 0


def _run_dataset(
    application: "Dataset",
    inputs: list[str],
    *,
    drawn: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    from dropcli.cli.terminal.progress import progress

    request, dropout, tally = application.request, application.dropout, application.tally
    if not quiet:
        console.show_notices([("", notice) for notice in application.notices], verbose=True)
        if drawn and request.output is None and not dropout.eval:
            console.note(f"seed {dropout.seed}")  # needed to resume if the run is interrupted
    started = time.monotonic()
    with progress("dropping", enabled=not quiet, lines=True) as shown:
        report = application.run(shown)
    seconds = time.monotonic() - started
    if json:
        console.write_out(report.to_json())
    elif not quiet:
        console.show_tally(tally, request, dropout.settings(), verbose=verbose)
    if not quiet:
        known = len(application.notices)  # these were shown before
        console.show_notices(report.notices.placed()[known:], verbose=verbose)
        if tally.done and not request.dry_run:
            console.show_end(
                tally, request, seconds, failed=bool(application.errors), verbose=verbose
            )
    add_hints(application.errors, inputs)
    of_all = f"the first {{:,}} of {tally.unfit:,} files" if tally.unfit else "{:,} files"
    console.show_errors(application.errors, of_all, verbose=verbose)
    return 0 if not application.errors else 3 if tally.done and not report.failed else 1


def _check_stdout(json: bool) -> None:
    """Raise UsageError if anything but the tensors would go to standard output."""
    if json:
        raise UsageError(
            "two-on-stdout",
            "-o - and --json both write to standard output",
            "write the report to a file: --stats report.json",
        )
    if sys.stdout is None:
        raise UsageError("closed", "-o -: standard output is closed")
    if sys.stdout.isatty():
        raise UsageError(
            "stdout-is-a-terminal",
            "-o -: tensors are not written to a terminal",
            "redirect standard output: > y.safetensors",
        )
