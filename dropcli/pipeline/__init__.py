"""One file in, one file out, in constant memory."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcli.pipeline.export import check_stats_path, write_stats
    from dropcli.pipeline.job import check_selected, copy_file, derive_file, is_applied, run_file
    from dropcli.pipeline.output import Job, Writing, stream_of
    from dropcli.pipeline.progress import BytesProgress, Progress
    from dropcli.pipeline.provenance import copies_from, read_entry
    from dropcli.pipeline.recipe import Recipe, recipe_for
    from dropcli.pipeline.report import (
        FileReport,
        Notice,
        Notices,
        Report,
        TensorReport,
        asked,
        settings_notices,
    )

_NAMES = {
    "export": ("check_stats_path", "write_stats"),
    "job": ("check_selected", "copy_file", "derive_file", "is_applied", "run_file"),
    "output": ("Job", "Writing", "stream_of"),
    "progress": ("BytesProgress", "Progress"),
    "provenance": ("copies_from", "read_entry"),
    "recipe": ("Recipe", "recipe_for"),
    "report": (
        "FileReport",
        "Notice",
        "Notices",
        "Report",
        "TensorReport",
        "asked",
        "settings_notices",
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "BytesProgress",
    "FileReport",
    "Job",
    "Notice",
    "Notices",
    "Progress",
    "Recipe",
    "Report",
    "TensorReport",
    "Writing",
    "asked",
    "check_selected",
    "check_stats_path",
    "copies_from",
    "copy_file",
    "derive_file",
    "is_applied",
    "read_entry",
    "recipe_for",
    "run_file",
    "settings_notices",
    "stream_of",
    "write_stats",
]


def __getattr__(name: str) -> Any:
    """What `info` and `--help` need comes without what drops and writes."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
