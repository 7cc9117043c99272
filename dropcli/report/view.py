"""What a page shows, as values: sentences, tables and histograms, with a limit on their length.

Names come from files that strangers made. Here they are `Name`s, printable and on one line; each
format escapes them in its own way.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dropcli.dropout import shape_text
from dropcli.errors import STDOUT_NAME
from dropcli.files import STDOUT, place_of
from dropcli.pipeline import Report, asked
from dropcli.report.details import Details, Picture
from dropcli.report.histogram import Histogram, sampling_note
from dropcli.report.sentences import Done, methods, setting_rows, summary
from dropcli.report.statistics import FileRates, pooled
from dropcli.report.text import counted, number_text, printable, sigma_text, size_text
from dropcli.report.totals import NameTotals

_ROWS = 200  # at most, in a table
_MESSAGES = 50
_MESSAGE_LIMIT = 400


class Name(str):
    """Text from a file, made printable and short."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str, limit: int = 120) -> "Name":
        return cls(printable(printable(text, limit), limit))  # escapes are long


class Band(float):
    """The distance of a rate from p in standard deviations, which is drawn."""


Cell = str | Name | Band | None  # None: the cell above spans this row


@dataclass(frozen=True)
class Column:
    """A column of a table; `right` aligns it to the right, for numbers."""

    heading: str
    right: bool = False
    drawn: bool = False  # a picture, which only HTML pages have
    counts: bool = False  # left out if all are 0


@dataclass(frozen=True)
class Table:
    """A table under a heading. The `note` says which rows are left out."""

    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str = ""

    @property
    def spans(self) -> list[int]:
        """How many rows the first cell of each row spans; 0 if the one above spans it."""
        spans, first = [0] * len(self.rows), 0
        for number, row in enumerate(self.rows):
            first = first if row[0] is None else number
            spans[first] += 1
        return spans

    @property
    def written(self) -> "Table":
        """The table without columns that are drawn."""
        kept = [number for number, column in enumerate(self.columns) if not column.drawn]
        rows = [[row[number] for number in kept] for row in self.rows]
        return Table(self.title, [self.columns[number] for number in kept], rows, self.note)


@dataclass(frozen=True)
class View:
    """All that a page shows."""

    kind: str  # of page, in a word
    title: str
    summary: str
    methods: str
    settings: list[tuple[str, Name]]
    tables: list[Table]
    histograms: list[Histogram]
    histograms_note: str
    rates: FileRates | None
    pictures: Sequence[Picture]
    pictures_note: str


def view_of(report: Report, details: Details) -> View:
    """Collect what a page shows about a run of `apply`."""
    documents = [entry.document() for entry in report.entries]
    settings = report.settings or {}
    single = details.names is None
    stream = printable(documents[0]["stream"]) if single else None
    done = _done_single(documents[0]) if single else _done_several(documents)
    tensors = list(_tensor_rows(documents[0], settings)) if single else _name_rows(details.names)
    found = [Histogram.of(printable(name), part) for name, part in details.samples.items()]
    histograms = [histogram for histogram in found if histogram]
    tables = [
        cut("Tensors", _TENSORS if single else _NAMES, tensors, "tensor" if single else "name"),
        cut("Values before and after", _STATISTICS, _statistics(documents), "tensor", each=2),
        *([] if single else [_files_table(documents, settings)]),
        _failures(report.errors),
        warnings_table(report.warnings),
    ]
    where = f"Of {printable(details.pictured)}, the first output with images."
    pictured = "" if single or not details.pictured else where
    return View(
        "report",
        f"Dropout of {done.title}",
        summary(done, len(report.errors)),
        methods(done, settings, stream),
        settings_of(settings, stream),
        [table for table in tables if table.rows],
        histograms,
        sampling_note(histograms, documents),
        None if single else FileRates.of(documents, settings),
        details.pictures,
        f"{pictured} {details.pictures_note}".strip(),
    )


def settings_of(settings: dict[str, Any], stream: str | None) -> list[tuple[str, Name]]:
    """The settings by name, with their values in words."""
    return [
        (name, Name.of(value, _MESSAGE_LIMIT)) for name, value in setting_rows(settings, stream)
    ]


_RATES = [
    *(Column(heading, right=True) for heading in ("decisions", "dropped", "p", "rate")),
    *(Column("off by", right=True), Column("95 % range", right=True)),
    Column("rate against p", drawn=True),
]
_TENSORS = [Column("tensor"), Column("shape"), Column("dtype"), Column("what"), *_RATES]
_NAMES = [
    *(Column("tensor"), Column("dropped in", right=True), Column("copied in", right=True)),
    *(Column("why copied"), *_RATES),
]
_STATISTICS = [
    *(Column("tensor"), Column("when")),
    *(Column(heading, right=True) for heading in ("mean", "std", "min", "max", "zeros")),
    *(Column(heading, right=True, counts=True) for heading in ("NaN", "inf")),
]
_FILES = [
    *(Column("output"), Column("source"), Column("status"), Column("size", right=True)),
    *(Column(heading, right=True) for heading in ("decisions", "dropped", "rate", "off by")),
]


def _done_single(file: dict[str, Any]) -> Done:
    dropped = [tensor for tensor in file["tensors"] if tensor["action"] == "dropped"]
    source = printable(place_of(file["source"]))
    names = [f"tensor '{printable(tensor['name'])}'" for tensor in dropped]
    what = names[0] if len(names) == 1 else counted(len(names), "tensor") if names else ""
    short = os.path.basename(source)
    short = f"{what} of {short}" if len(names) == 1 else short
    where = STDOUT_NAME if file["output"] == STDOUT else printable(file["output"])
    return Done(
        short,
        f"{what} of {source}" if what else source,
        where,
        sum(tensor["decisions"] for tensor in dropped),
        sum(tensor["dropped"] or 0 for tensor in dropped),
    )


def _done_several(files: list[dict[str, Any]]) -> Done:
    sources = len({file["source"] for file in files})
    dropped = [t for file in files for t in file["tensors"] if t["action"] == "dropped"]
    return Done(
        counted(sources, "file"),
        counted(sources, "file"),
        counted(len(files), "file"),
        sum(tensor["decisions"] for tensor in dropped),
        sum(tensor["dropped"] or 0 for tensor in dropped),
    )


def _tensor_rows(file: dict[str, Any], settings: dict[str, Any]) -> Iterator[list[Cell]]:
    for tensor in sorted(file["tensors"], key=lambda tensor: tensor["action"] != "dropped"):
        name: list[Cell] = [Name.of(tensor["name"])]
        kind = [shape_text(tensor["shape"]), tensor["dtype"]]
        if tensor["action"] != "dropped":
            why = tensor.get("reason") or tensor.get("tied_to")
            what = f"{tensor['action']}: {printable(why)}" if why else tensor["action"]
            yield [*name, *kind, Name.of(what), *[""] * 7]
            continue
        p, sigma = asked(tensor, settings), tensor["rate_sigma"]
        cells = _rate_cells(p, tensor["rate"], sigma, tensor["rate_sd"])
        counts = [f"{tensor['decisions']:,}", number_text(tensor["dropped"])]
        yield [*name, *kind, "dropped", *counts, *cells]


def _rate_cells(
    p: float | None, rate: float | None, sigma: float | None, sd: float | None
) -> list[Cell]:
    """p, the rate, its distance from p in words, p plus and minus 2 sd, and the drawing."""
    allowed = ""
    if p is not None and sd:
        low, high = max(0.0, p - 2 * sd), min(1.0, p + 2 * sd)
        allowed = f"{number_text(low)} to {number_text(high)}"
    drawn = "" if sigma is None else Band(sigma)
    return [number_text(p), number_text(rate), sigma_text(sigma), allowed, drawn]


def _name_rows(names: list[tuple[str, NameTotals]] | None) -> list[list[Cell]]:
    return [
        [
            Name.of(name),
            *(f"{count:,}" if count else "" for count in (totals.dropped_in, totals.copied_in)),
            Name.of(", ".join(sorted(totals.reasons))),
            *(f"{n:,}" if totals.decisions else "" for n in (totals.decisions, totals.dropped)),
            *_rate_cells(totals.asked, totals.rate, totals.sigma, totals.rate_sd),
        ]
        for name, totals in names or ()
    ]


def _statistics(documents: list[dict[str, Any]]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name, before, after in pooled(documents):
        for when, side in (("before", before), ("after", after)):
            shown: Cell = Name.of(name) if when == "before" else None
            rows.append([shown, when, *(number_text(side[key]) for key in side)])
    return rows


def _files_table(documents: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for file in documents[:_ROWS]:
        rates = FileRates.of([file], settings)
        totals = rates.total
        rows.append(
            [
                *(Name.of(file["output"]), Name.of(file["source"])),
                *(file["status"], size_text(file["bytes"]), f"{totals.decisions:,}"),
                *(f"{totals.dropped:,}", number_text(totals.rate), sigma_text(totals.sigma)),
            ]
        )
    return cut("Files", _FILES, rows, "file", total=len(documents))


def warnings_table(found: Iterable[dict[str, Any]]) -> Table:
    """A row for each warning, with the number of files."""
    rows: list[list[Cell]] = [
        [Name.of(one["message"], _MESSAGE_LIMIT), one["code"], f"{one['files']:,}"] for one in found
    ]
    columns = [Column("message"), Column("code"), Column("files", right=True)]
    return cut("Warnings", columns, rows, "warning", most=_MESSAGES)


def _failures(errors: Iterable[dict[str, Any]]) -> Table:
    """A row for each file that failed; those with the same message follow each other."""
    groups: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        groups.setdefault((error["code"], error["message"]), []).append(error["source"] or "")
    rows: list[list[Cell]] = []
    for (code, message), places in groups.items():
        text: list[Cell] = [Name.of(message, _MESSAGE_LIMIT), code, f"{len(places):,}"]
        rows.append([*text, Name.of(places[0])])
        rows += [[None, "", "", Name.of(place)] for place in places[1:]]
    columns = [Column("message"), Column("code"), Column("files", right=True), Column("file")]
    return cut("Failures", columns, rows, "failure")


def cut(
    title: str,
    columns: list[Column],
    rows: list[list[Cell]],
    noun: str,
    *,
    each: int = 1,
    most: int = _ROWS,
    total: int | None = None,
) -> Table:
    """A table of the first rows, without columns that are empty."""
    total = len(rows) // each if total is None else total
    shown = rows[: most * each]
    kept = [
        number
        for number, column in enumerate(columns)
        if not number or any(row[number] != ("0" if column.counts else "") for row in shown)
    ]
    note = f"The first {most:,} of {counted(total, noun)}." if total > most else ""
    cells = [[row[number] for number in kept] for row in shown]
    return Table(title, [columns[number] for number in kept], cells, note)
