"""`--stats`: a report as a file. Its suffix gives the format."""

import io
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

from dropcli.dropout import shape_text
from dropcli.errors import DropcliError, UsageError
from dropcli.files import STDOUT, check_destination, is_url, publish, same_file
from dropcli.pipeline import Report, asked, to_json
from dropcli.report.details import Details

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


def _csv(report: Report, details: Details) -> str:
    """A header row, then one row per tensor (RFC 4180)."""
    import csv  # rarely needed

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_CSV_COLUMNS)
    writer.writeheader()
    writer.writerows(_csv_rows(report))
    return text.getvalue()


def _json(report: Report, details: Details) -> str:
    return report.to_json()


def _json_lines(report: Report, details: Details) -> str:
    """One line per file, each with the settings."""
    lines = [{"settings": report.settings, **entry.document()} for entry in report.entries]
    return "".join(to_json(line) for line in lines)


def _html(report: Report, details: Details) -> str:
    from dropcli.report import page, view  # jinja2 takes 30 ms to import

    return page.html(view.view_of(report, details))


def _markdown(report: Report, details: Details) -> str:
    from dropcli.report import page, view

    return page.markdown(view.view_of(report, details))


_DATA: dict[str, Callable[[Report, Details], str]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _csv,
}
_PAGES = {".html": _html, ".md": _markdown}
_TEXTS = _DATA | _PAGES


_FIGURES = (".png", ".pdf", ".svg")
_MEANT = {  # the format for suffixes that are not supported
    **dict.fromkeys((".htm", ".xhtml"), ".html"),
    **dict.fromkeys((".txt", ".markdown", ".rst", ".tex"), ".md"),
    **dict.fromkeys((".tsv", ".xls", ".xlsx", ".ods"), ".csv"),
    **dict.fromkeys((".jpg", ".jpeg", ".gif"), ".png"),
    ".ndjson": ".jsonl",
    ".eps": ".pdf",
}


def check_stats_path(
    path: str, others: Iterable[str], *, replace: bool, made: str | None = None
) -> None:
    """Raise DropcliError, before any work, if statistics cannot be written there.

    `others` are the paths that the run reads and writes, `made` a folder that it will create.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in _TEXTS and suffix not in _FIGURES:
        suffixes = ", ".join((*_TEXTS, *_FIGURES))
        message = f"--stats: the suffix of '{path}' is none of {suffixes}"
        raise UsageError("bad-stats", message, _suffix_hint(path))
    if suffix in _FIGURES and not find_spec("matplotlib"):
        raise DropcliError(
            "no-matplotlib",
            f"--stats: a {suffix} file needs matplotlib, which is not installed",
            "pip install 'dropcli[plots]', or write a page: --stats report.html",
        )
    if _is_one_of(path, others):
        raise UsageError(
            "same-file", f"--stats: '{path}' is also an input or an output of this run"
        )
    folder = os.path.dirname(os.path.abspath(path))
    is_new = made is not None and folder == os.path.abspath(made) and not os.path.isdir(folder)
    if is_url(path) or not is_new:
        check_destination(path, replace=replace)


def _is_one_of(path: str, others: Iterable[str]) -> bool:
    """Whether this is one of the paths, however they are written."""
    if not (is_url(path) or os.path.lexists(path)):
        # Then only a link has another name, and resolving thousands of paths takes long.
        name = os.path.basename(path)
        others = (p for p in others if os.path.basename(p) == name or os.path.islink(p))
    return any(same_file(other, path) for other in others)


def _suffix_hint(path: str) -> str:
    """The hint for a path whose suffix is not that of a report."""
    if path == STDOUT:
        return "use --json for a report on standard output"
    if path.endswith(os.sep) or os.path.isdir(path):
        return f"name a file, as in --stats {shlex.quote(os.path.join(path, 'report.json'))}"
    name = PurePath(path).name
    if name.startswith(".") and name in (*_TEXTS, *_FIGURES):
        return f"name a file, as in --stats {shlex.quote(path[: -len(name)] + 'report' + name)}"
    root, suffix = os.path.splitext(path)
    return f"did you mean {shlex.quote(root + _MEANT.get(suffix.lower(), '.json'))}?"


def has_histograms(path: str) -> bool:
    """Whether a report with this suffix shows histograms, which need sampled elements."""
    return PurePath(path).suffix.lower() not in _DATA


def load_page() -> None:
    """Load what makes a page, which takes 60 ms: this can overlap with other work."""
    from dropcli.report import page, view  # noqa: F401

    page.load()


def write_stats(path: str, report: Report, details: Details, *, replace: bool) -> None:
    """Publish the statistics in the format of the suffix."""
    suffix = PurePath(path).suffix.lower()
    if suffix in _FIGURES:
        from dropcli.report import figure, view  # matplotlib is slow and may not be installed

        data = figure.figure(view.view_of(report, details), suffix)
    else:
        data = _TEXTS[suffix](report, details).encode("utf-8", "surrogateescape")
    with publish(path, size=len(data), replace=replace) as output:
        output.write(data)
