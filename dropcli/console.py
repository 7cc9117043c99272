"""All output for people and scripts: reports, progress, warnings and errors.

No escape code leaves a stream that is not a terminal.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from dropcli.errors import DropcliError, FileError, located
from dropcli.text import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table

    from dropcli.info import FileInfo
    from dropcli.report import Report

STDOUT_NAME = "standard output"

_UNBROKEN = 10_000  # columns
_PATIENCE = 0.5  # seconds before a progress bar appears
_MESSAGE_LIMIT = 2000


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
    keys = {"source": error.place, "code": error.code}
    return {**keys, "message": error.message, "hint": error.hint}


def show_report(report: "Report", *, on_stderr: bool, verbose: bool) -> None:
    """The table of what was done."""
    from dropcli.tables import file_table

    console = _rich(sys.stderr if on_stderr else sys.stdout)
    arrow = "→" if console.encoding.startswith("utf") else "->"
    for file in report.files:
        _print(console, *file_table(file, report.settings or {}, verbose, arrow))


def show_info(info: "FileInfo", *, verbose: bool) -> None:
    """The table of what a file holds."""
    from dropcli.tables import info_table

    _print(_rich(sys.stdout), *info_table(info, verbose))


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
    # If nobody can hear it, that must not change what happens, or the exit code.
    with suppress(OSError):
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
        # What is not a terminal is a file or a program, for which lines are not to be broken.
        width=None if terminal or os.environ.get("COLUMNS", "").isdigit() else _UNBROKEN,
    )


def _print(console: "RichConsole", *parts: "str | Table") -> None:
    from dropcli.tables import BETWEEN

    with located(STDOUT_NAME):
        for part in parts:
            # A terminal that is too narrow breaks the lines itself: no digit is left out.
            if isinstance(part, str):
                console.print(part, soft_wrap=True)
            else:
                needed = sum(column.min_width or 0 for column in part.columns)
                console.width = max(console.width, needed + BETWEEN * (len(part.columns) - 1))
                console.print(part)
        console.file.flush()
