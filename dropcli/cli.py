"""The command line: options, commands, and the one place that catches our errors."""

import os
import secrets
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from dropcli import __version__, console
from dropcli.errors import DropcliError, Interrupted, UsageError

# What a command needs is imported when it runs: `--help` and `--version` stay quick.

app = typer.Typer(
    rich_markup_mode=None,  # plain help: the same on every terminal, in pipes and in the README
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Mode(StrEnum):
    """What one decision covers."""

    element = "element"
    channel = "channel"


class StrictCommand(TyperCommand):
    """A command that refuses a single-valued option given twice, instead of taking the last."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # the public name of typer's context
        """Count the options before typer takes the last of each."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        once = [param for param in given if param.param_type_name == "option" and param.nargs == 1]
        for param in once:
            toggled = not getattr(param, "is_flag", False) or param.secondary_opts
            if toggled and not param.multiple and once.count(param) > 1:
                raise UsageError("given-twice", f"{param.opts[0]}: expected once, got it again")
        return super().parse_args(ctx, args)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.write_out(f"dropcli {__version__} (masks dropcli/1)\n")
        raise typer.Exit


def _lazily(parser: str) -> Any:
    """A parser of `options` that is imported with the command, not with its help."""

    def parse(value: Any) -> Any:
        from dropcli import options

        return getattr(options, parser)(value) if isinstance(value, str) else value

    parse.__name__ = parser
    return parse


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    r"""Apply dropout to saved tensors: the same bytes everywhere, in constant memory.

    \b
    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli info y.safetensors
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


@app.command("apply", cls=StrictCommand)
def apply(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            parser=_lazily("parse_path"),
            help="A .safetensors file, or - for standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUTPUT",
            parser=_lazily("parse_path"),
            help="The file to write, a folder to write it to, or - for standard output.",
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the input, atomically.")
    ] = False,
    p: Annotated[
        float,
        typer.Option(
            "-p",
            "--p",
            metavar="P",
            parser=_lazily("parse_p"),
            help="The probability of dropping, from 0 to 1.",
        ),
    ] = 0.5,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            parser=_lazily("parse_seed"),
            help="0 to 2**64-1; drawn and shown if absent.",
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream",
            metavar="NAME",
            parser=_lazily("parse_stream"),
            help="The file's name in the mask key; by default the input's name without its suffix.",
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            "--mode",
            help="What one decision covers: an element (default), or a channel of a sample, "
            "as nn.Dropout2d on (N, C, H, W).",
        ),
    ] = None,
    over: Annotated[
        Any,
        typer.Option(
            "--over",
            metavar="DIMS",
            parser=_lazily("parse_over"),
            help="The dimensions along which decisions differ: 0 for whole samples, 0,2:8,3:8 for "
            "holes of 8 by 8.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "-k",
            "--key",
            metavar="GLOB",
            help="Drop the tensors of this name, and no others; repeatable. By default every "
            "F64, F32, F16 and BF16 tensor.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="GLOB", help="Copy the tensors of this name; repeatable."
        ),
    ] = None,
    rescale: Annotated[
        bool,
        typer.Option(
            "--rescale/--no-rescale", help="Multiply what is kept by 1/(1-p), or leave it."
        ),
    ] = True,
    fill: Annotated[
        Any,
        typer.Option(
            "--fill",
            metavar="V",
            parser=_lazily("parse_fill"),
            help="What dropped elements become, instead of 0.",
        ),
    ] = None,
    evaluation: Annotated[
        bool, typer.Option("--eval", help="Evaluation mode: dropout is off, tensors are copied.")
    ] = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Replace an output that exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Show what would be done; write nothing.")
    ] = False,
    stats: Annotated[
        str | None,
        typer.Option(
            "--stats",
            metavar="PATH",
            parser=_lazily("parse_path"),
            help="Write the statistics to a .json, .jsonl or .csv file.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON document.")
    ] = False,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance/--no-provenance", help="Record the settings in the output's metadata."
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show every tensor.")] = False,
) -> int:
    r"""Drop elements or channels of the tensors in a file, and write the result.

    \b
    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli apply x.safetensors -o y.safetensors --mode channel -k images
      dropcli apply x.safetensors --in-place -p 0.1
      cat x.safetensors | dropcli apply - -o - -p 0.2 > y.safetensors

    Dropped elements become zero and the others are scaled by 1/(1-p), exactly as
    torch.nn.Dropout does. The same seed gives the same bytes on every machine.
    """
    from dropcli.dropout import Dropout
    from dropcli.options import choose_over
    from dropcli.report import Report
    from dropcli.run import STDOUT, Job, check_stats_path, run_file, stream_of, write_stats

    target = _target(source, output, in_place)
    _check_combination(target, quiet=quiet, verbose=verbose, json=json)
    dropout = Dropout(
        p=p,
        seed=secrets.randbits(64) if seed is None else seed,
        over=choose_over(mode, over),
        rescale=rescale,
        fill=fill,
        key=tuple(key or ()),
        exclude=tuple(exclude or ()),
        eval=evaluation,
    )
    job = Job(
        source,
        target,
        stream or stream_of(source),
        force=force,
        in_place=in_place,
        provenance=provenance,
        dry_run=dry_run,
    )
    if stats:
        check_stats_path(stats, job)

    with console.progress(not quiet) as on_total:
        file = run_file(job, dropout, on_total)
    report = Report(__version__, "apply", dropout.settings(), [file])
    if stats and not dry_run:
        write_stats(stats, report, replace=force)

    if json:
        console.write_out(report.to_json())
    elif not quiet:
        console.show_report(report, on_stderr=target == STDOUT, verbose=verbose)
    elif seed is None and not provenance:
        console.note(f"seed {dropout.seed}")  # nothing else remembers it
    if not quiet:
        for warning in file.warnings():
            console.warn(warning)
    return 0


@app.command("info", cls=StrictCommand)
def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Tensor files, - for standard input.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show every tensor.")] = False,
) -> int:
    r"""Show the tensors of files, their sizes and their provenance, from the headers alone.

    \b
    Examples:
      dropcli info x.safetensors
      dropcli info --json *.safetensors | jq '.files[].tensors[].name'
    """
    from dropcli.info import read_info
    from dropcli.options import parse_path
    from dropcli.report import Report

    report = Report(__version__, "info")
    for number, path in enumerate(files):
        try:
            found = read_info(parse_path(path))
        except DropcliError as error:
            if isinstance(error, UsageError):
                raise
            report.errors.append(console.error_document(error))
            console.show_error(error)
            continue
        report.files.append(found)
        if not json:
            if number:
                console.write_out("\n")
            console.show_info(found, verbose=verbose)
    if json:
        console.write_out(report.to_json())
    return {"success": 0, "partial": 3, "error": 1}[report.status]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: list[str]) -> int:
    try:
        code = app(args=arguments, prog_name="dropcli", standalone_mode=False)
        if code == 130:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
        return int(code or 0)
    except typer.TyperException as error:
        return _fail(arguments, _usage_error(error))
    except DropcliError as error:
        return _fail(arguments, error)
    except KeyboardInterrupt:
        console.note("interrupted")
        return 130
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # which typer turns into this
            return _end_of_pipe()
        return int(stop.code or 0)
    except BrokenPipeError:
        return _end_of_pipe()
    except MemoryError:
        return _fail(arguments, DropcliError("out-of-memory", "expected more memory to be free"))


def _fail(arguments: list[str], error: DropcliError) -> int:
    """Report on standard error, and as a document on standard output if one was asked for."""
    console.show_error(error)
    if error.place == console.STDOUT_NAME:
        _forget_stdout()
    elif "--json" in arguments:
        from dropcli.report import Report

        command = next((word for word in arguments if word in ("apply", "info")), "")
        document = Report(__version__, command, None, [], [console.error_document(error)])
        try:
            console.write_out(document.to_json())
        except DropcliError as second:
            return _fail([], second)
    return error.exit_code


def _end_of_pipe() -> int:
    """Whoever read has seen enough: end quietly, with the exit code that shells know."""
    _forget_stdout()
    return 141


def _forget_stdout() -> None:
    """As it exits, the interpreter flushes what is left; it must not fail a second time."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _usage_error(error: typer.TyperException) -> UsageError:
    """Typer's complaint in our words: the option first, then what was expected."""
    message = error.format_message().rstrip(".")
    if isinstance(error, typer.BadParameter) and error.message and error.param:
        message = f"{error.param.opts[0]}: {error.message.rstrip('.')}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "dropcli"
    return UsageError("usage", message[:1].lower() + message[1:], f"{command} --help")


def _target(source: str, output: str | None, in_place: bool) -> str:
    """Where the output goes; into a folder it keeps the input's name, as with `cp`."""
    from dropcli.reader import STDIN
    from dropcli.run import STDOUT

    if output is not None and in_place:
        raise UsageError("two-outputs", "expected -o or --in-place, got both")
    if in_place and source == STDIN:
        raise UsageError(
            "in-place-stdin", "--in-place: expected a file, got standard input", "use -o -"
        )
    if in_place:
        return source
    if output is None:
        raise UsageError(
            "no-output",
            "expected an output, got none",
            "add -o OUTPUT, or --in-place to replace the input",
        )
    if output != STDOUT and source != STDIN and os.path.isdir(output):
        return os.path.join(output, os.path.basename(source))
    return output


def _check_combination(target: str, *, quiet: bool, verbose: bool, json: bool) -> None:
    from dropcli.run import STDOUT

    if quiet and verbose:
        raise UsageError("quiet-and-verbose", "expected -q or -v, got both")
    if target != STDOUT:
        return
    if json:
        raise UsageError(
            "two-on-stdout",
            "expected one thing on standard output, got -o - and --json",
            "write the report to a file with --stats report.json",
        )
    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "stdout-is-a-terminal",
            "-o -: expected standard output to be a file or a pipe, got a terminal",
            "redirect it, as in `> y.safetensors`",
        )
    if sys.stdout is None:
        raise UsageError("closed", "-o -: expected standard output to be open, got it closed")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted("terminated", "stopped by SIGTERM; the output is as it was")


def _open_standard_streams() -> None:
    """Give a closed stream's number to /dev/null, or the next file opened would get it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a stream cannot encode is shown escaped
            stream.reconfigure(errors="backslashreplace")
