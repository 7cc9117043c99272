"""Reports as files and pages: JSON, CSV, Markdown, HTML, figures, and the text that they share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcli.report.details import Details as Details
    from dropcli.report.details import Picture as Picture
    from dropcli.report.export import check_stats_path as check_stats_path
    from dropcli.report.export import has_histograms as has_histograms
    from dropcli.report.export import load_page as load_page
    from dropcli.report.export import write_stats as write_stats
    from dropcli.report.histogram import Histogram as Histogram
    from dropcli.report.preview import Preview as Preview
    from dropcli.report.preview import caption as caption
    from dropcli.report.preview import check_picture_path as check_picture_path
    from dropcli.report.preview import extent as extent
    from dropcli.report.preview import pictures_of as pictures_of
    from dropcli.report.preview import what as what
    from dropcli.report.text import counted as counted
    from dropcli.report.text import number_text as number_text
    from dropcli.report.text import printable as printable
    from dropcli.report.text import provenance_line as provenance_line
    from dropcli.report.text import settings_text as settings_text
    from dropcli.report.text import sigma_text as sigma_text
    from dropcli.report.text import size_text as size_text
    from dropcli.report.totals import NameTotals as NameTotals

_MODULES = {
    **dict.fromkeys(("Details", "Picture"), "details"),
    "Histogram": "histogram",
    "NameTotals": "totals",
    **dict.fromkeys(("check_stats_path", "has_histograms", "load_page"), "export"),
    "write_stats": "export",
    **dict.fromkeys(("Preview", "caption", "check_picture_path"), "preview"),
    **dict.fromkeys(("extent", "pictures_of", "what"), "preview"),
    **dict.fromkeys(("counted", "number_text", "printable", "provenance_line"), "text"),
    **dict.fromkeys(("settings_text", "sigma_text", "size_text"), "text"),
}


def __getattr__(name: str) -> Any:
    """Import on first use, because templates and pictures take time to load."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
