"""Reports as files and pages: JSON, CSV, Markdown, HTML, figures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcli.report.export import check_stats_path as check_stats_path
    from dropcli.report.export import write_stats as write_stats

_MODULES = dict.fromkeys(("check_stats_path", "write_stats"), "export")


def __getattr__(name: str) -> Any:
    """Import on first use: templates and pictures take time to load."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
