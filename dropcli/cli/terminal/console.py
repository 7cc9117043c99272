"""All output for users and scripts: reports, progress, warnings and errors.

No escape code leaves a stream that is not a terminal, unless `--color always` was given.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from dropcli.errors import STDOUT_NAME, DropcliError, FileError, located
from dropcli.report import printable

if TYPE_CHECKING:  # slow for --help
    from rich.console import Console as RichConsole
    from rich.syntax import ANSISyntaxTheme

    from dropcli.cli.terminal.layout import Screen, Styler
    from dropcli.contents import FileDifference
    from dropcli.dataset import Request, Tally, Verdict
    from dropcli.formats import FileInfo
    from dropcli.pipeline import FileReport, Notice
    from dropcli.report import Preview

# Of the 8 standard colours, those that can be read on light and dark backgrounds.
_STYLES = {
    "error": "1;31",
    "warning": "35",
    "hint": "36",
    "success": "32",
    "heading": "1;32",
    "option": "36",
    "dim": "2",
    "columns": "1",
}
_color = "auto"

_UNBROKEN = 10_000  # columns
_PAGE = 100  # columns
_COLUMNS = 80  # of a terminal of unknown width
_WARNINGS = 10  # unless --verbose
_MESSAGE_LIMIT = 2000


def choose_color(words: Sequence[str]) -> None:
    """Read `--color` from a command line that may be wrong, because its errors have colour too."""
    global _color
    _color = "auto"
    for number, word in enumerate(words):
        if word == "--":
            return
        if word == "--color":
            _color = "".join(words[number + 1 : number + 2])
        elif word.startswith("--color="):
            _color = word.removeprefix("--color=")


def is_colored(stream: TextIO | None) -> bool:
    """Whether a stream gets colour: only terminals do, unless `--color always` was given.

    See https://no-color.org. FORCE_COLOR is for terminals that are called dumb; continuous
    integration sets it everywhere.
    """
    if _color in ("always", "never"):
        return _color == "always" and stream is not None
    if os.environ.get("NO_COLOR"):
        return False
    forced = bool(os.environ.get("FORCE_COLOR"))
    return is_terminal(stream) or (forced and stream is not None and stream.isatty())


def styler(stream: TextIO | None) -> "Styler":
    """A function that adds colour to text for a stream."""
    if is_colored(stream):
        return lambda style, text: f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
    return lambda _, text: text


def write_out(text: str) -> None:
    """Write to standard output. Raises FileError if that fails."""
    with located(STDOUT_NAME):
        if sys.stdout is None:
            raise FileError("closed", "the stream is closed")
        sys.stdout.write(text)
        sys.stdout.flush()


def note(message: str, label: str = "") -> None:
    """Write a line to standard error; `label` is "error", "hint" or "warning".

    On a terminal, lines are broken between words, except hints, which users copy.
    """
    text, start = printable(message, _MESSAGE_LIMIT), f"{label}: " if label else ""
    lines = [f"{start}{text}"]
    if is_terminal(sys.stderr) and label != "hint":
        from dropcli.cli.terminal.layout import flow

        lines = [*flow(text, screen_of(sys.stderr), start)]
    if label:
        lines[0] = styler(sys.stderr)(label, start[:-1]) + lines[0].removeprefix(start[:-1])
    write_error("".join(f"{line}\n" for line in lines))


def write_error(text: str) -> None:
    """Write to standard error; a failure is ignored and does not change the exit code."""
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def show_error(error: DropcliError) -> None:
    """Show `error: place: what is wrong`, and a `hint:` line if there is a hint."""
    note(str(error), "error")
    if error.hint:
        note(error.hint, "hint")


def show_errors(
    errors: Iterable[DropcliError], of_several: str = "{:,} files", *, verbose: bool
) -> None:
    """Show errors; those with one cause as one. `of_several` is formatted with their number."""
    causes: dict[tuple[str, str, str | None], list[DropcliError]] = {}
    for error in errors:
        causes.setdefault((error.code, error.message, error.hint), []).append(error)
    for same in causes.values():
        if verbose or len(same) == 1:
            for error in same:
                show_error(error)
            continue
        first = same[0]
        note(f"{of_several.format(len(same))}: {first.message}", "error")
        note(f"first in {first.place}; -v names all of them")
        if first.hint:
            note(first.hint, "hint")


def show_file(
    file: "FileReport", settings: dict[str, Any], *, on_stderr: bool, verbose: bool
) -> None:
    """Show the report table of a file."""
    from dropcli.cli.terminal.tables import file_table

    _show(lambda screen: file_table(file, settings, verbose, screen), on_stderr=on_stderr)


def show_file_success(file: "FileReport", *, on_stderr: bool) -> None:
    """Show the last line of a run over one file."""
    from dropcli.cli.terminal.tables import file_success

    _show(lambda screen: file_success(file, screen), on_stderr=on_stderr)


def show_tally(
    tally: "Tally", request: "Request", settings: dict[str, Any], *, verbose: bool
) -> None:
    """Show the report table of a dataset, which is the same for any number of workers."""
    from dropcli.cli.terminal.tables import dataset_table

    _show(lambda screen: dataset_table(tally, request, settings, verbose, screen))


def show_end(
    tally: "Tally", request: "Request", seconds: float, *, failed: bool, verbose: bool
) -> None:
    """Show the last line of a run over many files, on standard error because it has a time."""
    from dropcli.cli.terminal.tables import dataset_end

    _show(lambda to: dataset_end(tally, request, seconds, failed, verbose, to), on_stderr=True)


def show_notices(notices: "Iterable[tuple[str, Notice]]", *, verbose: bool) -> None:
    """Show the first warnings of each code, each with its file ("" for none)."""
    kinds: dict[str, list[str]] = {}
    for source, notice in notices:
        text = f"{source}: {notice.message}" if source else notice.message
        kinds.setdefault(notice.code, []).append(text)
    for messages in kinds.values():
        shown = messages if verbose else messages[:_WARNINGS]
        for message in shown:
            note(message, "warning")
        if len(shown) < len(messages):
            left = len(messages) - len(shown)
            note(f"and {left:,} more like these; -v shows them all", "warning")


def show_verdicts(verdicts: "list[Verdict]", failed: int, *, verbose: bool) -> None:
    """Show which outputs differ, and how many are the same."""
    from dropcli.cli.terminal.tables import verdict_lines

    _show(lambda screen: verdict_lines(verdicts, failed, verbose, screen))


def show_info(info: "FileInfo", *, verbose: bool) -> None:
    """Show the table of the tensors in a file."""
    from dropcli.cli.terminal.contents import info_table

    _show(lambda screen: info_table(info, verbose, screen))


def show_preview(preview: "Preview", *, verbose: bool) -> None:
    """Show samples of a file before and after dropout, and which of its tensors drop."""
    from dropcli.cli.terminal.pictures import preview_lines

    colored = is_colored(sys.stdout)
    _show(lambda screen: preview_lines(preview, verbose, colored, screen))


def show_saved(path: str) -> None:
    """Show that a picture was written."""
    from dropcli.cli.terminal.layout import success

    _show(lambda screen: success(f"wrote {printable(path)}", screen))


def show_difference(difference: "FileDifference", *, verbose: bool) -> None:
    """Show the table of differences between two files."""
    from dropcli.cli.terminal.contents import difference_table

    _show(lambda screen: difference_table(difference, verbose, screen))


def show_markdown(text: str) -> None:
    """Show a page of the guide, with styles if the stream is a terminal."""
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = rich_console(sys.stdout)
    console.width = min(_width(sys.stdout), _PAGE)
    theme = Theme({"markdown.code": "cyan", "markdown.h2": "bold"})  # readable on dark and light
    with located(STDOUT_NAME), console.use_theme(theme):
        # Annotated as text, but passed to code that also accepts a theme.
        console.print(Markdown(text, code_theme=cast("str", _code_theme())))
        console.file.flush()


def _code_theme() -> "ANSISyntaxTheme":
    """Colours for code that are readable on light and dark backgrounds, unlike yellow and blue."""
    from pygments.token import Comment, Keyword, Literal  # type: ignore[import-untyped]
    from rich.style import Style
    from rich.syntax import ANSISyntaxTheme

    colors = {Comment: "green", Keyword: "magenta", Literal: "cyan"}
    return ANSISyntaxTheme({token: Style(color=color) for token, color in colors.items()})


def _show(make: "Callable[[Screen], Iterable[str]]", *, on_stderr: bool = False) -> None:
    screen = screen_of(sys.stderr if on_stderr else sys.stdout)
    text = "".join(f"{line}\n" for line in make(screen))
    (write_error if on_stderr else write_out)(text)


def screen_of(stream: TextIO | None) -> "Screen":
    """The width of a stream, and what it can show."""
    from dropcli.cli.terminal.layout import Screen

    utf8 = (getattr(stream, "encoding", None) or "").lower().startswith("utf")
    return Screen(_width(stream), utf8, styler(stream))


def _width(stream: TextIO | None) -> int:
    """The columns of a terminal; lines in files and pipes are not broken unless COLUMNS is set."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns):
        return int(columns)
    if stream is None or not is_terminal(stream):
        return _UNBROKEN
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    return _COLUMNS


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that understands escape codes."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def rich_console(stream: TextIO) -> "RichConsole":
    """A rich console for a terminal, with colour if `is_colored` allows it."""
    from rich.console import Console
    from rich.theme import Theme

    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").isascii():
            del os.environ[name]  # rich fails on superscript digits, which Python accepts
    # Explicit, because rich otherwise follows variables that CI systems set.
    color = is_colored(stream)
    return Console(
        file=stream,
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
        force_interactive=True,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
        theme=Theme({f"progress.{name}": "none" for name in ("download", "data.speed")}),
    )
