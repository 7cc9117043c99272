"""All output for people and scripts: reports, progress, warnings and errors.

No escape code leaves a stream that is not a terminal.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, TextIO

from dropcli.cli.text import printable
from dropcli.errors import STDOUT_NAME, DropcliError, FileError, located

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table

    from dropcli.dataset import Request, Tally, Verdict
    from dropcli.formats import FileInfo
    from dropcli.pipeline import FileReport, Notice

_UNBROKEN = 10_000  # columns
_PAGE = 100  # columns
_WARNINGS = 10  # unless --verbose
_MESSAGE_LIMIT = 2000


def write_out(text: str) -> None:
    """Write to standard output what was asked for."""
    with located(STDOUT_NAME):
        if sys.stdout is None:
            raise FileError("closed", "expected it to be open")
        sys.stdout.write(text)
        sys.stdout.flush()


def note(message: str, label: str = "") -> None:
    """One line on standard error; `label` is "error: ", "hint: " or "warning: "."""
    # A message that cannot be written changes neither what happens nor the exit code.
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{label}{printable(message, _MESSAGE_LIMIT)}\n")
            sys.stderr.flush()


def show_error(error: DropcliError) -> None:
    """`error: place: what is wrong`, and a `hint:` line where there is one."""
    note(str(error), "error: ")
    if error.hint:
        note(error.hint, "hint: ")


def show_file(
    file: "FileReport", settings: dict[str, Any], *, on_stderr: bool, verbose: bool
) -> None:
    """The table of what was done to a file."""
    from dropcli.cli.tables import file_table

    # Beside the tensors it is for whoever may be there to see it.
    with suppress(FileError, OSError) if on_stderr else nullcontext():
        console = rich(sys.stderr if on_stderr else sys.stdout)
        _print(console, *file_table(file, settings, verbose, _arrow(console)))


def show_tally(
    tally: "Tally", request: "Request", settings: dict[str, Any], *, verbose: bool
) -> None:
    """The table of what was done to a dataset, the same however many workers did it."""
    from dropcli.cli.tables import dataset_table

    console = rich(sys.stdout)
    _print(console, *dataset_table(tally, request, settings, verbose, _arrow(console)))


def show_time(tally: "Tally", seconds: float) -> None:
    """How long a dataset took, on standard error: it is never twice the same."""
    from dropcli.cli.tables import time_line

    note(time_line(tally, seconds))


def show_notices(notices: "Iterable[tuple[str, Notice]]", *, verbose: bool) -> None:
    """Warnings with the file each is about ("" for none), of which the first few of a kind do."""
    kinds: dict[str, list[str]] = {}
    for source, notice in notices:
        text = f"{source}: {notice.message}" if source else notice.message
        kinds.setdefault(notice.code, []).append(text)
    for messages in kinds.values():
        shown = messages if verbose else messages[:_WARNINGS]
        for message in shown:
            note(message, "warning: ")
        if len(shown) < len(messages):
            left = len(messages) - len(shown)
            note(f"and {left:,} more like these; -v shows them all", "warning: ")


def show_verdicts(verdicts: "list[Verdict]", *, verbose: bool) -> None:
    """Which outputs differ from what they should be, and how many do not."""
    from dropcli.cli.tables import verdict_lines

    _print(rich(sys.stdout), *verdict_lines(verdicts, verbose))


def show_info(info: "FileInfo", *, verbose: bool) -> None:
    """The table of what a file holds."""
    from dropcli.cli.tables import info_table

    _print(rich(sys.stdout), *info_table(info, verbose))


def show_markdown(text: str) -> None:
    """A page of the guide, for a terminal."""
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = rich(sys.stdout)
    console.width = min(console.width, _PAGE)
    theme = Theme({"markdown.code": "cyan", "markdown.h2": "bold"})  # on dark and light
    with located(STDOUT_NAME), console.use_theme(theme):
        console.print(Markdown(text, code_theme="ansi_light"))
        console.file.flush()


def _arrow(console: "RichConsole") -> str:
    return "→" if console.encoding.startswith("utf") else "->"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether escape codes are understood there."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def rich(stream: TextIO | None) -> "RichConsole":
    """A rich console that sends escape codes to terminals alone."""
    from rich.console import Console

    if stream is None:
        raise FileError("closed", "expected it to be open", None, STDOUT_NAME)
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").isascii():
            del os.environ[name]  # rich takes superscripts for digits, and fails
    # Said outright, because rich otherwise believes variables that CI systems set.
    terminal = is_terminal(stream)
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
    from dropcli.cli.tables import BETWEEN

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
