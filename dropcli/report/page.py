"""Self-contained pages in HTML and Markdown, made from templates."""

import base64
import math
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dropcli.report.histogram import BINS, Histogram
from dropcli.report.statistics import Spread
from dropcli.report.text import number_text
from dropcli.report.view import Band, Cell, Name, View

_TEMPLATES = Path(__file__).with_name("templates")
_HEIGHT = 64  # of a histogram; a bin is 1 wide


def load() -> None:
    """Compile the templates of a page, which are then kept."""
    for name in ("page.html", "parts.html"):
        _environment().get_template(name)


def html(view: View) -> str:
    """The page as HTML, which has no script and loads nothing."""
    return _environment().get_template("page.html").render(view=view)


def fragment(view: View) -> str:
    """The first part of a page as an HTML fragment, for a notebook."""
    return _environment().get_template("fragment.html").render(view=view)


def markdown(view: View) -> str:
    """The page as Markdown, with tables as on GitHub."""
    return _environment().get_template("page.md").render(view=view)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is not None and not name.endswith(".md"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "kind": _kind,
        "number": number_text,
        "cell": _markdown_cell,
        "prose": _markdown_text,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "steps": _steps,
        "bars": _bars,
        "place": lambda sigma: round(min(max(sigma, -4.0), 4.0) * 10 + 40, 1),
    }
    environment.globals |= {"height": _HEIGHT, "bins": BINS, "bell": _bell}
    return environment


def _kind(cell: Cell) -> str:
    if cell is None:
        return "above"
    return "band" if isinstance(cell, Band) else "name" if isinstance(cell, Name) else "text"


def _markdown_text(text: str) -> str:
    """Text in which nothing is read as markup, a link or a mention."""
    return re.sub(r"[^\w\s.,;:'\"()/=+%-]|(?<!\w)_|_(?!\w)|://", _entities, text)


def _entities(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(char)};" for char in found[0])


def _markdown_cell(cell: Cell) -> str:
    """A cell of a table. Names are set as code, in which there are no links or mentions."""
    if cell is None or isinstance(cell, Band):
        return ""
    if not isinstance(cell, Name) or not cell:
        return _markdown_text(cell)
    if re.search(r"[`|\\]", cell) or cell != cell.strip():
        return f"<code>{re.sub(r'[^a-zA-Z0-9]', _entities, cell)}</code>"
    return f"`{cell}`"


def _steps(counts: list[int], histogram: Histogram) -> str:
    """The outline of a histogram as an SVG path, `BINS` wide."""
    most = max([1, *histogram.before, *histogram.after])
    heights = [round(_HEIGHT * (1 - count / most), 1) for count in counts]
    path = [f"M0 {_HEIGHT}"]
    for number, height in enumerate(heights):
        if not number or height != heights[number - 1]:
            path.append(f"V{height:g}")
        path.append(f"H{number + 1}")
    return "".join([*path, f"V{_HEIGHT}"])


def _bars(spread: Spread) -> str:
    """The bars of a histogram as an SVG path; each bin is 1 wide."""
    most = max(1, *spread.counts)
    heights = [round(_HEIGHT * count / most, 1) for count in spread.counts]
    return "".join(
        f"M{number + 0.08:g} {_HEIGHT}v{-height:g}h.84v{height:g}z"
        for number, height in enumerate(heights)
        if height
    )


def _bell(spread: Spread) -> str:
    """The normal distribution with the same total, as a line over the bars."""
    bins, most = len(spread.counts), max(1, *spread.counts)
    width = (spread.high - spread.low) / bins
    points = []
    for half in range(2 * bins + 1):
        sigma = spread.low + half * width / 2
        share = math.exp(-sigma * sigma / 2) / math.sqrt(2 * math.pi) * width
        height = _HEIGHT * (1 - min(1.5, share * sum(spread.counts) / most))
        points.append(f"{half / 2:g} {height:.1f}")
    return "M" + "L".join(points)
