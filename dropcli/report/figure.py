"""The histograms and the rates as one figure, drawn with matplotlib."""

import io
import logging
import math
import warnings
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dropcli.report.histogram import BINS, Histogram
from dropcli.report.view import Band, Cell, View

_COLUMNS = 3
_PANEL = 3.2, 1.9  # inches
_RATES = 30  # rows
_NAME_LIMIT = 38
_BEFORE, _AFTER, _ALLOWED = "#b6bdc8", "#1f5fbf", "#d9e5f7"
_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "svg.hashsalt": "dropcli",  # the same report gives the same bytes
}


def figure(view: View, suffix: str) -> bytes:
    """Return the figure in the format of the suffix: .png, .pdf or .svg."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    metadata: dict[str, Any] = {
        ".pdf": {"CreationDate": None, "Title": view.title},
        ".svg": {"Date": None, "Title": view.title},
    }.get(suffix, {})
    file = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context(cast(Any, _STYLE)):
        warnings.simplefilter("ignore")  # characters that the font does not have
        made = _drawn(view)
        made.savefig(file, format=suffix[1:], dpi=150, metadata=metadata, bbox_inches="tight")
    return file.getvalue()


def _drawn(view: View) -> Figure:
    rates = _rates(view)
    rows = math.ceil(len(view.histograms) / _COLUMNS)
    tall = 0.9 + 0.16 * len(rates)
    made = Figure(figsize=(_COLUMNS * _PANEL[0], tall + rows * _PANEL[1]), layout="constrained")
    made.suptitle(_short(view.title, 100), x=0.01, ha="left", parse_math=False)
    grid = made.add_gridspec(1 + rows, _COLUMNS, height_ratios=[tall, *[_PANEL[1]] * rows])
    _draw_rates(made.add_subplot(grid[0, :]), rates)
    for number, histogram in enumerate(view.histograms):
        axes = made.add_subplot(grid[1 + number // _COLUMNS, number % _COLUMNS])
        _draw_histogram(axes, histogram)
        if not number:
            axes.legend(frameon=False, fontsize=7)
    return made


def _rates(view: View) -> list[tuple[str, float, str]]:
    """For each tensor that drops by chance: its name, the distance of its rate from p, its rate."""
    table = next((table for table in view.tables if table.title == "Tensors"), None)
    if table is None:
        return []
    headings = [column.heading for column in table.columns]
    rate = headings.index("rate") if "rate" in headings else 0
    found: list[tuple[str, float, str]] = []
    for row in table.rows:
        last: Cell = row[-1]
        if isinstance(last, Band):
            found.append((str(row[0]), last, str(row[rate])))
    return found[:_RATES]


def _draw_rates(axes: Axes, rates: list[tuple[str, float, str]]) -> None:
    axes.axvspan(-2, 2, color=_ALLOWED, linewidth=0)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.plot([min(max(sigma, -4.5), 4.5) for _, sigma, _ in rates], range(len(rates)), "o",
              color=_AFTER, markersize=4)  # fmt: skip
    axes.set_xlim(-5, 5)
    axes.set_ylim(len(rates) - 0.5, -0.5)
    labels = [f"{_short(name, _NAME_LIMIT)}  {rate}" for name, _, rate in rates]
    axes.set_yticks(range(len(rates)), labels, parse_math=False)
    axes.set_xlabel("realised rate minus p, in standard deviations (shaded: 95 % of all)")


def _draw_histogram(axes: Axes, histogram: Histogram) -> None:
    low, high = histogram.low, histogram.high
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    edges = [-1 + 2 * number / BINS for number in range(BINS + 1)]  # the axis is always -1 to 1
    axes.stairs(histogram.before, edges, fill=True, color=_BEFORE, label="before")
    axes.stairs(histogram.after, edges, color=_AFTER, linewidth=1.2, label="after")
    axes.set_title(_short(histogram.name, _NAME_LIMIT), parse_math=False)
    axes.set_xticks([-1, 0, 1], [f"{value:.4g}" for value in (low, middle, middle + half)])
    axes.set_yticks([])
    axes.set_xlabel(f"zeros {histogram.zeros[0]:.1%}, then {histogram.zeros[1]:.1%}")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"
