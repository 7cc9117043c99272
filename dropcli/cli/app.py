"""The command line program: its commands, and how it handles errors and signals."""

import os
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from dropcli.__version__ import __version__
from dropcli.cli import commands, run_options
from dropcli.cli.missing import add_hints
from dropcli.cli.parsing import Command, Group
from dropcli.cli.terminal import console
from dropcli.cli.terminal.usage import help_text
from dropcli.errors import STDOUT_NAME, DropcliError, FileError, Interrupted
from dropcli.parallel import signals

_LONG_COMMAND = 1000

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,  # rich takes as long to load as everything else that --help needs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version() -> int:
    """Show the version."""
    from dropcli.native import is_available  # with numpy, which takes time

    kernel = "native" if is_available() else "numpy"
    console.write_out(f"dropcli {__version__} (masks dropcli/1, kernel {kernel})\n")
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        _version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
            show_default=False,
        ),
    ] = False,
    color: run_options.Color = "auto",
) -> None:
    """Apply dropout to saved tensors: the same bytes everywhere, in constant memory.

    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli info y.safetensors
    """
    if ctx.invoked_subcommand is None:
        console.write_error(f"{help_text(ctx, console.styler(sys.stderr))}\n")
        raise typer.Exit(2)


app.command("apply", cls=Command)(commands.apply)
app.command("info", cls=Command)(commands.info)
app.command("mask", cls=Command)(commands.mask)
app.command("preview", cls=Command)(commands.preview)
app.command("diff", cls=Command)(commands.diff)
app.command("verify", cls=Command)(commands.verify)
app.command("help", cls=Command)(commands.help)
app.command("version", cls=Command, hidden=True)(_version)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    console.choose_color(words)
    handlers = signals.install()
    try:
        return _run(words)
    except Interrupted as stop:  # while an error was shown
        return _interrupted(words, stop)
    except BrokenPipeError:
        _forget_stdout()  # the reader closed the pipe: end quietly
        return 141
    finally:
        signals.restore(handlers)


@cache
def _parser() -> TyperGroup:
    """The parser, made once per process, because it takes most of the time of a small run."""
    made = get_command(app)
    assert isinstance(made, TyperGroup)
    return made


def _run(words: list[str]) -> int:
    try:
        signals.deliver()
        # Outside of standalone mode, typer returns what the command returns: its exit code.
        code = int(_parser()(args=words, prog_name="dropcli", standalone_mode=False) or 0)
        signals.install()  # defers them from now on
        return code
    except Interrupted as stop:
        return _interrupted(words, stop)
    except DropcliError as error:
        return _fail(words, error)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer exits on it
            raise stop.__context__ from None
        return int(stop.code or 0)
    except BrokenPipeError:
        raise
    except OSError as error:  # from typer, when it prints a completion; others are FileErrors
        reason = error.strerror or str(error)
        return _fail(words, FileError("os-error", reason.lower(), None, STDOUT_NAME))
    except MemoryError:
        return _fail(words, DropcliError("out-of-memory", "out of memory"))
    except (ImportError, SyntaxError) as error:  # too little memory, or a damaged installation
        while isinstance(error.__cause__, ImportError):  # numpy puts advice in its place
            error = error.__cause__
        reason = f"a library cannot be loaded: {error.msg}"
        missing = f"pip install {error.name}" if isinstance(error, ModuleNotFoundError) else None
        return _fail(words, DropcliError("not-loaded", reason, missing or "is enough memory free?"))


def _interrupted(words: list[str], stop: Interrupted) -> int:
    """Show what is done, and how to continue."""
    done = f"; {stop.done}" if stop.done else ""
    left = "nothing half-written is left"
    if stop.unfinished:
        left = f"workers of the cluster may still write up to {stop.unfinished:,} files"
    console.note(f"interrupted; {left}{done}")
    if stop.done:
        console.note(f"continue with{_resuming(words, stop.words)}", "hint")
    if "--json" in words:
        _write_failure(words, DropcliError("interrupted", "interrupted by a signal"))
    return 128 + stop.number


def _resuming(words: list[str], more: tuple[str, ...]) -> str:
    """The command with more options, which must come before a `--`."""
    added = [] if "--resume" in words else ["--resume"]
    start = next(n for n, word in enumerate(words) if word in ("apply", "mask")) + 1
    text = shlex.join(["dropcli", *words[:start], *added, *more, *words[start:]])
    if len(text) > _LONG_COMMAND or not text.isprintable() or "--files-from" in words:
        return f" the same command and {' '.join([*added, *more]) or 'input'}"
    return f": {text}"


def _fail(words: list[str], error: DropcliError) -> int:
    """Report on standard error, and as a document on standard output if it was requested."""
    add_hints([error])
    console.show_error(error)
    if error.place == STDOUT_NAME:
        _forget_stdout()
    elif "--json" in words:
        _write_failure(words, error)
    return error.exit_code


def _write_failure(words: list[str], error: DropcliError) -> None:
    from dropcli.pipeline import Report

    command = next((word for word in words if word in _parser().commands), "")
    try:
        console.write_out(Report(command, errors=[error.document()]).to_json())
    except DropcliError as second:
        _fail([], second)


def _forget_stdout() -> None:
    """Discard buffered output, which the interpreter would flush at exit and fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _open_standard_streams() -> None:
    """Open /dev/null in place of closed streams, so that no other file gets their number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # for characters that the encoding does not have
            stream.reconfigure(errors="backslashreplace")
