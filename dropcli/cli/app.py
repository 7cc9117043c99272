"""The command line: commands, and the one place that catches our errors."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dropcli.__version__ import __version__
from dropcli.cli import console, options, values
from dropcli.cli.command import Command, Group
from dropcli.errors import DropcliError, FileError, Interrupted, UsageError
from dropcli.parallel import signals

_LONG_COMMAND = 1000
_MANY = 300  # files, for which starting workers is worth while

# What a command needs is imported when it runs: `--help` and `--version` stay quick.

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


@app.command("apply", cls=Command)
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
    with signals.held():
        import secrets

        from dropcli.dataset.discover import has_many
        from dropcli.parallel.threads import usable_cores

        if jobs != 1 and usable_cores() > 1 and has_many(list(inputs or ()), _MANY):
            from dropcli.parallel.processes import warm_up

            warm_up("dropcli.dataset.tasks")  # which takes as long as the imports that follow
        from dropcli.cli.actions import Show, apply_dataset, apply_file, read_list
        from dropcli.dataset.plan import Request
        from dropcli.dataset.request import is_dataset
        from dropcli.dropout.combinations import check_torch_input
        from dropcli.dropout.settings import Dropout

    operands = list(inputs or ())
    values.check_apply(operands, files_from, null=null, quiet=quiet, verbose=verbose)
    request = Request(
        values.choose_output(output, in_place),
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
        over=values.choose_over(mode, over),
        rescale=rescale,
        fill=fill,
        key=tuple(key or ()),
        exclude=tuple(exclude or ()),
        eval=evaluation,
        p_per=p_per or "file",
        alpha=alpha,
        exact=exact,
        min_keep=min_keep,
        rng=rng or "dropcli",
    )
    check_torch_input(dropout.rng, stream, copies or None)
    show = Show(json=json, stats=stats, quiet=quiet, verbose=verbose)
    if files_from is None and not is_dataset(operands, request):
        return apply_file(operands[0], request, dropout, seed is None, show)
    listed = None if files_from is None else read_list(files_from, null)
    return apply_dataset(operands, listed, request, dropout, seed is None, show)


@app.command("info", cls=Command)
def info(files: options.Files, json: options.Json = False, verbose: options.Verbose = False) -> int:
    """Show what tensor files hold, from their headers.

    \b
    Examples:
      dropcli info x.safetensors
      dropcli info --json *.safetensors | jq '.files[].tensors[].name'
    """  # noqa: D301
    with signals.held():
        from dropcli.formats import read_info
        from dropcli.pipeline.report import Report

    report = Report(__version__, "info")
    for path in map(values.parse_path, files):
        try:
            found = read_info(path)
        except UsageError:
            raise
        except DropcliError as error:
            report.errors.append(error.document())
            console.show_error(error)
            continue
        if report.files and not json:
            console.write_out("\n")
        report.files.append(found)
        if not json:
            console.show_info(found, verbose=verbose)
    if json:
        console.write_out(report.to_json())
    return {"success": 0, "partial": 3, "error": 1}[report.status]


@app.command("verify", cls=Command)
def verify(
    outputs: options.Outputs,
    source: options.Source,
    jobs: options.Jobs = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Derive outputs again from their provenance and sources, and compare bytes.

    \b
    Examples:
      dropcli verify y.safetensors --source x.safetensors
      dropcli verify augmented/ --source data/

    Exits with 0 if all are the same, 4 if one is not.
    """  # noqa: D301
    with signals.held():
        from dropcli.cli.actions import Show, verify_outputs

    show = Show(json=json, stats=None, quiet=quiet, verbose=verbose)
    return verify_outputs(list(outputs), source, jobs or None, show)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    handlers = signals.hold()
    try:
        return _run(words)
    except Interrupted as stop:  # while an error was told
        return _interrupted(words, stop)
    except BrokenPipeError:
        _forget_stdout()  # whoever read has seen enough: end quietly
        return 141
    finally:
        signals.restore(handlers)


def _run(words: list[str]) -> int:
    try:
        signals.release()
        # A command returns its exit code, which typer gives back when it does not stand alone.
        code = int(app(args=words, prog_name="dropcli", standalone_mode=False) or 0)
        signals.hold()  # all is done
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
        return _fail(words, FileError("os-error", reason.lower(), None, console.STDOUT_NAME))
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
        console.hint(f"go on with{_resuming(words, stop.words)}")
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
    if error.place == console.STDOUT_NAME:
        _forget_stdout()
    elif "--json" in words:
        _write_failure(words, error)
    return error.exit_code


def _write_failure(words: list[str], error: DropcliError) -> None:
    from dropcli.pipeline.report import Report

    document = Report(__version__, "".join(_command(words)), None, [], [error.document()])
    try:
        console.write_out(document.to_json())
    except DropcliError as second:
        _fail([], second)


def _command(words: list[str]) -> list[str]:
    """The command among these words, if there is one."""
    return [word for word in words if word in ("apply", "info", "verify")][:1]


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
