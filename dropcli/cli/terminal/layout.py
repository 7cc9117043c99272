"""Layout of lines and tables for the width of a screen or file."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

Styler = Callable[[str, str], str]  # (name of a style, text) -> text in that style

_GAP = "  "  # between columns
_COMFORTABLE = 24  # columns for a long name, for which other columns are left out
_LEAST = 12  # columns for a long name


class Screen(NamedTuple):
    """A stream for text: its width, and what it can show."""

    width: int
    utf8: bool
    style: Styler

    @property
    def arrow(self) -> str:
        return "→" if self.utf8 else "->"

    @property
    def ellipsis(self) -> str:
        return "…" if self.utf8 else "..."


class Column(NamedTuple):
    """A column of a table. If the table is too wide, the highest `spare` is left out first.

    Columns without a text are left out, and those of counts that are all 0.
    """

    heading: str
    right: bool = False
    spare: int = 0  # 0 stays
    counts: bool = False


def table(columns: Sequence[Column], rows: list[list[str]], screen: Screen) -> Iterator[str]:
    """The lines of a table. If it cannot fit, it becomes a list of `key value` lines.

    The first column holds names, which lose their middle where they are too long, as long as they
    stay distinct. A cell may have several lines.
    """
    kept = [n for n in range(len(columns)) if not n or _says_something(columns[n], rows, n)]
    spare = sorted((n for n in kept if columns[n].spare), key=lambda n: -columns[n].spare)
    widths = [_widest([column.heading, *_lines_of(rows, n)]) for n, column in enumerate(columns)]
    names = [row[0] for row in rows]
    for least, gone in product((_COMFORTABLE, _LEAST), range(len(spare) + 1)):
        shown = [n for n in kept if n not in spare[:gone]]
        room = screen.width - sum(len(_GAP) + widths[n] for n in shown[1:])
        if room < min(widths[0], least):
            continue
        if fitting := elided(names, room, screen.ellipsis, beside_dots=True):
            cut = [[name, *row[1:]] for name, row in zip(fitting, rows, strict=True)]
            yield from _grid(columns, cut, shown, screen)
            return
    yield from _stack(columns, rows, kept, screen)


def _says_something(column: Column, rows: list[list[str]], number: int) -> bool:
    cells = set(_lines_of(rows, number))
    return not cells <= ({"", "0"} if column.counts else {""})


def _lines_of(rows: list[list[str]], number: int) -> Iterator[str]:
    return (line for row in rows for line in row[number].split("\n"))


def _grid(
    columns: Sequence[Column], rows: list[list[str]], shown: list[int], screen: Screen
) -> Iterator[str]:
    widths = {n: _widest([columns[n].heading, *_lines_of(rows, n)]) for n in shown}

    def line(cells: Sequence[str]) -> str:
        padded = (_padded(cells[n], widths[n], right=columns[n].right) for n in shown)
        return _GAP.join(padded).rstrip()

    yield screen.style("columns", line([column.heading for column in columns]))
    for row in rows:
        cells = [cell.split("\n") for cell in row]
        for number in range(max(map(len, cells))):
            yield line([cell[number] if number < len(cell) else "" for cell in cells])


def _stack(
    columns: Sequence[Column], rows: list[list[str]], kept: list[int], screen: Screen
) -> Iterator[str]:
    names = [row[0] for row in rows]
    keys = _widest([columns[n].heading for n in kept[1:]])
    for name, row in zip(elided(names, screen.width, screen.ellipsis) or names, rows, strict=True):
        yield screen.style("columns", name)
        cells = [(columns[n], row[n].split("\n")) for n in kept[1:] if row[n]]
        aligned = any(len(lines) > 1 for _, lines in cells)
        width = _widest(text for _, lines in cells for text in lines) if aligned else 0
        for column, lines in cells:
            values = _GAP.join(_padded(text, width, right=True) for text in lines)
            if column.right and values.isalpha():  # a word instead of a number
                yield f"{_GAP}{values}"
            else:
                yield f"{_GAP}{_padded(column.heading, keys)}{_GAP}{values}"


def elided(
    names: list[str], room: int, ellipsis: str, *, beside_dots: bool = False
) -> list[str] | None:
    """Names cut in the middle to at most `room` columns; None if they would look alike.

    They are cut beside dots and slashes, as in `model…mlp.down_proj.weight`. Elsewhere they are
    cut only if they have none or, without `beside_dots`, if nothing else fits. Of several names
    the numbers stay too: `model…11…down_proj.weight`.
    """
    if _widest(names) <= room:
        return names
    parts = [re.split(r"(?<=[./])", name) for name in names]
    several = len(names) > 1
    ways = product((True,) if beside_dots else (True, False), (1, 0), (several, not several))
    for clean, head, numbers in ways:
        found = [_without_middle(name, head, numbers, clean, room, ellipsis) for name in parts]
        distinct = len(set(found)) == len(set(names))
        if distinct and all(found) and _widest(found) <= room:
            return found
    return None


def _without_middle(
    parts: list[str], head: int, numbers: bool, clean: bool, room: int, ellipsis: str
) -> str:
    """A name cut after so many of its parts; empty if it must be `clean` and cannot be."""
    name = "".join(parts)
    if width_of(name) <= room:
        return name
    start = "".join(parts[:head]).rstrip("./") + ellipsis
    for first in range(head + 1, len(parts) - 1):
        part = parts[first - 1].rstrip("./")
        if numbers and part.isdecimal():
            start += part + ellipsis
        found = start + "".join(parts[first:])
        if width_of(found) <= room:
            return found
    if clean and len(parts) > 1:
        return ""
    long = "".join(parts[max(head, len(parts) - 2) :])
    if width_of(start) > room // 2 or not long:
        start, long = "", name
    kept = max(0, room - width_of(start) - len(ellipsis))
    end = max(kept // 2, min(kept - 3, len(parts[-1]) + 4))  # with the last part, if it is short
    return f"{start}{long[: kept - end]}{ellipsis}{long[len(long) - end :]}"


def short(name: str, screen: Screen) -> str:
    """The name, cut to fit on one line."""
    return (elided([name], max(_LEAST, screen.width), screen.ellipsis) or [name])[0]


def flow(text: str, screen: Screen, start: str = "") -> Iterator[str]:
    """The text, broken between words and phrases; lines after the first are indented."""
    line, empty = start, True
    indent = len(start) if screen.width - len(start) >= _COMFORTABLE else min(len(start), 2)
    for word in _words(text, min(_COMFORTABLE, screen.width - indent)):
        longer = f"{line}{'' if empty else ' '}{word}"
        if empty or width_of(longer) <= screen.width:
            line, empty = longer, False
        else:
            yield line
            line = " " * indent + word
    yield line


def _words(text: str, longest: int) -> Iterator[str]:
    """The phrases between commas; long ones as words. An option stays with its value."""
    for phrase in re.split("(?<=,) ", text):
        if width_of(phrase) <= longest:
            yield phrase
            continue
        option = ""
        for word in phrase.split(" "):
            if not option and re.fullmatch("-[a-zA-Z]|--[a-z-]+", word):
                option = word
            else:
                yield f"{option} {word}" if option else word
                option = ""
        if option:
            yield option


def success(text: str, screen: Screen) -> Iterator[str]:
    """The last line of a run without errors."""
    mark = "✓" if screen.utf8 else "done:"
    first, *more = flow(f"{mark} {text}", screen)
    yield screen.style("success", mark) + first.removeprefix(mark)
    yield from more


def width_of(text: str) -> int:
    """The number of columns of a text: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _widest(texts: Iterable[str]) -> int:
    return max(map(width_of, texts), default=0)


def _padded(text: str, width: int, *, right: bool = False) -> str:
    blank = " " * (width - width_of(text))
    return blank + text if right else text + blank
