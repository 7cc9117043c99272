"""Process one file into one output, in constant memory."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcli.pipeline.blocks import drop_run as drop_run
    from dropcli.pipeline.blocks import drop_scattered as drop_scattered
    from dropcli.pipeline.job import check_selected as check_selected
    from dropcli.pipeline.job import copy_file as copy_file
    from dropcli.pipeline.job import derive_file as derive_file
    from dropcli.pipeline.job import is_applied as is_applied
    from dropcli.pipeline.job import run_file as run_file
    from dropcli.pipeline.loop import recipes_for as recipes_for
    from dropcli.pipeline.notices import Notice as Notice
    from dropcli.pipeline.notices import Notices as Notices
    from dropcli.pipeline.notices import settings_notices as settings_notices
    from dropcli.pipeline.output import BytesProgress as BytesProgress
    from dropcli.pipeline.output import Job as Job
    from dropcli.pipeline.output import Progress as Progress
    from dropcli.pipeline.output import Writing as Writing
    from dropcli.pipeline.output import stream_of as stream_of
    from dropcli.pipeline.provenance import SeededSettings as SeededSettings
    from dropcli.pipeline.provenance import choose_settings as choose_settings
    from dropcli.pipeline.provenance import copies_from as copies_from
    from dropcli.pipeline.provenance import read_entry as read_entry
    from dropcli.pipeline.recipe import recipe_for as recipe_for
    from dropcli.pipeline.report import FileReport as FileReport
    from dropcli.pipeline.report import Report as Report
    from dropcli.pipeline.report import TensorReport as TensorReport
    from dropcli.pipeline.report import asked as asked
    from dropcli.pipeline.report import to_json as to_json
    from dropcli.pipeline.stats import MAX_SAMPLED as MAX_SAMPLED
    from dropcli.pipeline.stats import SAMPLE as SAMPLE
    from dropcli.pipeline.stats import SAMPLE_OF_ALL as SAMPLE_OF_ALL
    from dropcli.pipeline.stats import Sample as Sample
    from dropcli.pipeline.stats import Summary as Summary
    from dropcli.pipeline.stats import stride_of as stride_of
    from dropcli.pipeline.stats import summarize as summarize

_MODULES = {
    **dict.fromkeys(
        ("check_selected", "copy_file", "derive_file", "is_applied", "run_file"), "job"
    ),
    **dict.fromkeys(("drop_run", "drop_scattered"), "blocks"),
    "recipes_for": "loop",
    **dict.fromkeys(("BytesProgress", "Job", "Progress", "Writing", "stream_of"), "output"),
    **dict.fromkeys(
        ("SeededSettings", "choose_settings", "copies_from", "read_entry"), "provenance"
    ),
    "recipe_for": "recipe",
    **dict.fromkeys(("MAX_SAMPLED", "SAMPLE", "SAMPLE_OF_ALL"), "stats"),
    **dict.fromkeys(("Sample", "Summary", "stride_of", "summarize"), "stats"),
    **dict.fromkeys(("Notice", "Notices", "settings_notices"), "notices"),
    **dict.fromkeys(("FileReport", "Report", "TensorReport", "asked", "to_json"), "report"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: `info` needs neither dropout nor writing."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
