"""All output for people and scripts: tables, JSON, progress, warnings and errors.

Names of files and tensors are data: control characters are shown escaped, brackets are never
markup. No escape code leaves a stream that is not a terminal.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from dropcli.errors import DropcliError, FileError, located

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.table import Table

    from dropcli.info import FileInfo
    from dropcli.report import FileReport, Report, TensorReport

STDOUT_NAME = "standard output"

_ROWS = 20  # of a table, unless more are asked for
_PATIENCE = 0.5  # seconds before a progress bar appears
_NAME_LIMIT = 200
_MESSAGE_LIMIT = 2000


def printable(text: str, limit: int = _NAME_LIMIT) -> str:
    """The text on one line, with control characters escaped and its middle left out if long."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 2 :]}"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def write_out(text: str) -> None:
    """Write to standard output what was asked for."""
    with located(STDOUT_NAME):
        if sys.stdout is None:
            raise FileError("closed", "expected it to be open")
        sys.stdout.write(text)
        sys.stdout.flush()


def warn(message: str) -> None:
    """One line of warning on standard error."""
    _write_error(f"warning: {printable(message, _MESSAGE_LIMIT)}\n")


def note(message: str) -> None:
    """One line on standard error that is no warning."""
    _write_error(f"{printable(message, _MESSAGE_LIMIT)}\n")


def show_error(error: DropcliError) -> None:
    """`error: where: expected, got`, and a `hint:` line where there is one."""
    _write_error(f"error: {printable(str(error), _MESSAGE_LIMIT)}\n")
    if error.hint:
        _write_error(f"hint: {printable(error.hint, _MESSAGE_LIMIT)}\n")


def error_document(error: DropcliError) -> dict[str, str | None]:
    """An error's part of the JSON document."""
    message = printable(error.message, _MESSAGE_LIMIT)
    return {"source": error.place, "code": error.code, "message": message, "hint": error.hint}


def show_report(report: "Report", *, on_stderr: bool, verbose: bool) -> None:
    """The table of what was done."""
    console = _rich(sys.stderr if on_stderr else sys.stdout)
    for file in report.files:
        _print(console, *_file_table(file, report.settings or {}, verbose, _arrow(console)))


def show_info(info: "FileInfo", *, verbose: bool) -> None:
    """The table of what a file holds."""
    _print(_rich(sys.stdout), *_info_table(info, verbose))


@contextmanager
def progress(enabled: bool) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """A bar on standard error, if it is a terminal, once the work has taken half a second."""
    if not (enabled and sys.stderr is not None and _is_terminal(sys.stderr)):
        yield lambda total: lambda count: None
        return

    started = time.monotonic()
    bar: Any = None

    def on_total(total: int) -> Callable[[int], None]:
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal bar, done
            done += count
            if bar is None and time.monotonic() - started > _PATIENCE:
                bar = _make_bar(total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        return on_bytes

    try:
        yield on_total
    finally:
        if bar is not None:
            bar.stop()


def _make_bar(total: int) -> Any:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=_rich(sys.stderr), transient=True)
    bar.add_task("", total=total)
    bar.start()
    return bar


def _write_error(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _rich(stream: TextIO | None) -> "RichConsole":
    from rich.console import Console

    if stream is None:
        raise FileError("closed", "expected it to be open", None, STDOUT_NAME)
    # Said outright, because rich otherwise believes variables that CI systems set.
    terminal = _is_terminal(stream)
    return Console(
        file=stream,
        force_terminal=terminal,
        force_interactive=terminal,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _print(console: "RichConsole", *parts: "RenderableType") -> None:
    with located(STDOUT_NAME):
        for part in parts:
            console.print(part)
        console.file.flush()


def _arrow(console: "RichConsole") -> str:
    return "→" if console.encoding.startswith("utf") else "->"


def _file_table(
    file: "FileReport", settings: dict[str, Any], verbose: bool, arrow: str
) -> Iterator["RenderableType"]:
    shown = file.tensors if verbose else file.tensors[:_ROWS]
    yield f"{printable(file.source)} {arrow} {printable(file.output)}  {_bytes(file.size)}"
    yield _settings_line(file, settings)
    if shown:
        yield ""
        yield _masks_table(shown, settings)
    if any(tensor.after for tensor in shown):
        yield ""
        yield _statistics_table(shown)
    yield ""
    if len(shown) < len(file.tensors):
        yield f"{len(file.tensors) - len(shown):,} more tensors; -v or --stats shows them all"
    yield _totals_line(file)


def _settings_line(file: "FileReport", settings: dict[str, Any]) -> str:
    if settings["eval"]:
        return "evaluation mode: nothing is dropped"
    over = settings["over"]
    words = [
        f"p {settings['p']:g}",
        f"seed {settings['seed']}",
        f"stream {printable(file.stream)}",
        f"over {over}" if over else "every element decides",
    ]
    if not settings["rescale"]:
        words.append("not rescaled")
    if settings["fill"] is not None:
        words.append(f"filled with {settings['fill']}")
    return ", ".join(words)


def _masks_table(tensors: list["TensorReport"], settings: dict[str, Any]) -> "Table":
    table = _table("tensor", "shape", "dtype", ">decisions", ">dropped", ">asked", ">rate")
    for tensor in tensors:
        row = (printable(tensor.name), _shape(tensor.shape), tensor.dtype)
        if tensor.action == "copied":
            table.add_row(*row, "", "copied", "", "")
        else:
            done = tensor.after is not None
            dropped = f"{tensor.dropped:,}" if done else ""
            rate = _number(tensor.rate, 4) if done else ""
            table.add_row(*row, f"{tensor.decisions:,}", dropped, f"{settings['p']:g}", rate)
    return table


def _statistics_table(tensors: list["TensorReport"]) -> "Table":
    table = _table("tensor", "", ">mean", ">std", ">min", ">max", ">zeros", ">NaN", ">inf")
    for tensor in tensors:
        for word, summary in (("before", tensor.before), ("after", tensor.after)):
            if summary:
                numbers = summary.document()
                table.add_row(
                    printable(tensor.name) if word == "before" else "",
                    word,
                    *(_number(numbers[key], 4) for key in ("mean", "std", "min", "max")),
                    *(f"{numbers[key]:,}" for key in ("zeros", "nan", "inf")),
                )
    return table


def _totals_line(file: "FileReport") -> str:
    dropped = [tensor for tensor in file.tensors if tensor.action == "dropped"]
    decisions = sum(tensor.decisions for tensor in dropped)
    count = sum(tensor.dropped for tensor in dropped)
    copied = f"{len(file.tensors) - len(dropped):,} copied"
    if file.status == "planned":
        return (
            f"dry run: nothing written; {_tensors(len(dropped))} to drop "
            f"({decisions:,} decisions), {copied}"
        )
    rate = f", rate {count / decisions:.4f}" if decisions else ""
    return f"{_tensors(len(dropped))} dropped ({count:,} of {decisions:,}{rate}), {copied}"


def _info_table(info: "FileInfo", verbose: bool) -> Iterator["RenderableType"]:
    shown = info.tensors if verbose else info.tensors[:_ROWS]
    elements = sum(tensor.elements for tensor in info.tensors)
    yield (
        f"{printable(info.source)}: {info.format}, {_bytes(info.size)}, "
        f"{_tensors(len(info.tensors))}, {elements:,} elements"
    )
    for entry in info.provenance:
        yield _provenance_line(entry)
    for key, value in info.metadata.items():
        if key != "dropcli":
            yield f"{printable(key)}: {printable(value)}"
    if shown:
        table = _table("tensor", "shape", "dtype", ">elements", ">size")
        for tensor in shown:
            table.add_row(
                printable(tensor.name),
                _shape(tensor.shape),
                tensor.dtype.name,
                f"{tensor.elements:,}",
                _bytes(tensor.nbytes),
            )
        yield ""
        yield table
    if len(shown) < len(info.tensors):
        yield f"{len(info.tensors) - len(shown):,} more tensors; -v shows them all"


def _provenance_line(entry: Any) -> str:
    """One application in words; a record that is not of this contract is shown as it is."""
    try:
        settings = entry["settings"]
        over = f"over {settings['over']}" if settings["over"] else "every element"
        return printable(
            f"dropped with p {settings['p']}, seed {settings['seed']}, {over}, "
            f"stream {entry['stream']}, copy {entry['copy']} ({entry['contract']})"
        )
    except (KeyError, TypeError):
        return f"provenance: {printable(str(entry))}"


def _table(*headings: str) -> "Table":
    """A table without borders; a heading that begins with `>` has its column to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        # Names may take two lines; numbers must not.
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def _number(value: float | int | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "scalar"


def _tensors(count: int) -> str:
    return f"{count:,} tensor{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    """Decimal units, as disks and `ls --si` count."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1000
    return f"{size:.4g} TB"
