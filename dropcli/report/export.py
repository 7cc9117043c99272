"""`--stats`: a report as a file, in the format of its suffix."""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

from dropcli.dropout import shape_text
from dropcli.errors import UsageError
from dropcli.files import check_destination, publish, same_file
from dropcli.pipeline import Report, asked, to_json

_SUMMARY_KEYS = ("mean", "std", "min", "max", "zeros", "nan", "inf")
_CSV_COLUMNS = (
    *("source", "output", "stream", "copy", "seed", "name", "dtype", "shape", "action"),
    *("decisions", "dropped", "asked", "rate", "elements", "elements_dropped"),
    *(f"before_{key}" for key in _SUMMARY_KEYS),
    *(f"after_{key}" for key in _SUMMARY_KEYS),
    "rate_sigma",
)


def _csv_rows(report: Report) -> Iterator[dict[str, Any]]:
    for file in (entry.document() for entry in report.entries):
        for tensor in file["tensors"]:
            row = {key: file[key] for key in ("source", "output", "stream", "copy")} | tensor
            row["shape"] = shape_text(tensor["shape"])
            row["seed"] = report.settings["seed"] if report.settings else None
            row["asked"] = asked(tensor, report.settings) if tensor["after"] else None
            for side in ("before", "after"):
                summary = row.pop(side) or {}
                row |= {f"{side}_{key}": value for key, value in summary.items()}
            yield {column: row.get(column) for column in _CSV_COLUMNS}


def _csv(report: Report) -> str:
    """A header row, then one row per tensor (RFC 4180)."""
    import csv  # rarely needed

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_CSV_COLUMNS)
    writer.writeheader()
    writer.writerows(_csv_rows(report))
    return text.getvalue()


def _json_lines(report: Report) -> str:
    """One line per file, each with the settings."""
    lines = [{"settings": report.settings, **entry.document()} for entry in report.entries]
    return "".join(to_json(line) for line in lines)


_STATS_FORMATS = {
    ".json": Report.to_json,
    ".jsonl": _json_lines,
    ".csv": _csv,
}


def check_stats_path(
    path: str, others: Iterable[str], *, replace: bool, made: str | None = None
) -> None:
    """Raise DropcliError, before any work, if statistics cannot be written there.

    `others` are the paths that the run reads and writes, `made` a folder that it will create.
    """
    if PurePath(path).suffix.lower() not in _STATS_FORMATS:
        suffixes = ", ".join(_STATS_FORMATS)
        raise UsageError("bad-stats", f"--stats: the suffix of '{path}' is none of {suffixes}")
    if any(same_file(other, path) for other in others):
        raise UsageError(
            "same-file", f"--stats: '{path}' is also an input or an output of this run"
        )
    folder = os.path.dirname(os.path.abspath(path))
    if made is None or os.path.isdir(folder) or folder != os.path.abspath(made):
        check_destination(path, replace=replace)


def write_stats(path: str, report: Report, *, replace: bool) -> None:
    """Publish the statistics in the format of the suffix."""
    text = _STATS_FORMATS[PurePath(path).suffix.lower()](report)
    data = text.encode("utf-8", "surrogateescape")
    with publish(path, size=len(data), replace=replace) as output:
        output.write(data)
