"""The command line: commands, and the one place that catches our errors."""

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
from dropcli.cli import commands, console
from dropcli.cli.parsing import Command, Group
from dropcli.errors import STDOUT_NAME, DropcliError, FileError, Interrupted, UsageError
from dropcli.parallel import signals

_LONG_COMMAND = 1000

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,  # plain help: the same on every terminal, in pipes and in the README
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.write_out(f"dropcli {__version__} (masks dropcli/1)\n")
        raise typer.Exit


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
    """Apply dropout to saved tensors: the same bytes everywhere, in constant memory.

    \b
    Examples:
      dropcli apply x.safetensors -o y.safetensors -p 0.3 --seed 7
      dropcli info y.safetensors
    """  # noqa: D301  # typer wants a real \b before lines that it must not join
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


app.command("apply", cls=Command)(commands.apply)
app.command("info", cls=Command)(commands.info)
app.command("verify", cls=Command)(commands.verify)
app.command("help", cls=Command)(commands.help)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    handlers = signals.install()
    try:
        return _run(words)
    except Interrupted as stop:  # while an error was told
        return _interrupted(words, stop)
    except BrokenPipeError:
        _forget_stdout()  # the reader closed the pipe: end quietly
        return 141
    finally:
        signals.restore(handlers)


@cache
def _parser() -> TyperGroup:
    """Made once for all runs in a process: small ones spend most of their time on it."""
    made = get_command(app)
    assert isinstance(made, TyperGroup)
    return made


def _run(words: list[str]) -> int:
    try:
        signals.deliver()
        # A command returns its exit code, which typer gives back when it does not stand alone.
        code = int(_parser()(args=words, prog_name="dropcli", standalone_mode=False) or 0)
        signals.install()  # all is done
        return code
    except Interrupted as stop:
        return _interrupted(words, stop)
    except typer.TyperException as error:
        return _fail(words, _usage_error(words, error))
    except DropcliError as error:
        return _fail(words, error)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # which typer turns into this
            raise stop.__context__ from None
        return int(stop.code or 0)
    except BrokenPipeError:
        raise
    except OSError as error:  # ours are all located; this is typer's, printing help
        reason = error.strerror or str(error)
        return _fail(words, FileError("os-error", reason.lower(), None, STDOUT_NAME))
    except MemoryError:
        return _fail(words, DropcliError("out-of-memory", "expected more memory to be free"))
    except ImportError as error:  # no memory to load it to, or only half of it is installed
        reason = f"expected its libraries to load, got {error.msg}"
        return _fail(words, DropcliError("not-loaded", reason, "is enough memory free?"))


def _interrupted(words: list[str], stop: Interrupted) -> int:
    """Say what is done, and how to go on."""
    done = f"; {stop.done}" if stop.done else ""
    console.note(f"interrupted; nothing half-written is left{done}")
    if stop.done:
        console.note(f"go on with{_resuming(words, stop.words)}", "hint: ")
    if "--json" in words:
        _write_failure(words, DropcliError("interrupted", "expected to go on, got a signal"))
    return 128 + stop.number


def _resuming(words: list[str], more: tuple[str, ...]) -> str:
    """The command again; options come before a `--` that may be there."""
    added = [] if "--resume" in words else ["--resume"]
    command = ["dropcli", words[0], *added, *more, *words[1:]]
    text = shlex.join(command)
    if len(text) > _LONG_COMMAND or not text.isprintable() or "--files-from" in words:
        return f" the same command and {' '.join([*added, *more]) or 'input'}"
    return f": {text}"


def _fail(words: list[str], error: DropcliError) -> int:
    """Report on standard error, and as a document on standard output if one was asked for."""
    console.show_error(error)
    if error.place == STDOUT_NAME:
        _forget_stdout()
    elif "--json" in words:
        _write_failure(words, error)
    return error.exit_code


def _write_failure(words: list[str], error: DropcliError) -> None:
    from dropcli.pipeline import Report

    document = Report("".join(_command(words)), None, [], [error.document()])
    try:
        console.write_out(document.to_json())
    except DropcliError as second:
        _fail([], second)


def _command(words: list[str]) -> list[str]:
    """The command among these words, if there is one."""
    return [word for word in words if word in ("apply", "info", "verify", "help")][:1]


def _usage_error(words: list[str], error: typer.TyperException) -> UsageError:
    """Typer's complaint in our words: the option first, then what was expected."""
    message = error.format_message().rstrip(".")
    if isinstance(error, typer.BadParameter) and error.message and error.param:
        message = f"{error.param.opts[0]}: {error.message.rstrip('.')}"
    hint = " ".join(["dropcli", *_command(words), "--help"])
    if message.startswith("No such command") and os.path.exists(word := message.split("'")[1]):
        hint = f"dropcli apply {shlex.quote(word)} -o OUTPUT"
    return UsageError("usage", message[:1].lower() + message[1:], hint)


def _forget_stdout() -> None:
    """As it exits, the interpreter flushes what is left; it must not fail a second time."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _open_standard_streams() -> None:
    """Give a closed stream's number to /dev/null, or the next file opened would get it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a stream cannot encode is shown escaped
            stream.reconfigure(errors="backslashreplace")
