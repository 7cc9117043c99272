"""The settings of earlier runs, from their journals."""

import json
import os
from contextlib import closing
from typing import Any

from dropcli.dataset.journal.file import NOT_OURS, Journal
from dropcli.dataset.journal.shards import journal_name, journals_beside
from dropcli.dataset.journal.stamp import stamps_below
from dropcli.errors import UsageError
from dropcli.files import first_line, is_url

_RULES = {  # the hint if the journal has another `select` than this run
    "all": "resume with --all-floats, as it began",
    "data/1": "resume without --all-floats, as it began",
}


def missing_outputs(folder: str) -> list[str]:
    """The outputs in the journals of this folder that no longer exist."""
    own = os.path.join(folder, journal_name(None, in_place=False))
    names: dict[str, None] = {}
    for path in [own, *(path for path, _ in journals_beside(own))]:
        if first_line(path) is not None:
            with closing(Journal(path, read_only=True)) as journal:
                names |= dict.fromkeys(journal.outputs)
    outputs = [os.path.join(folder, name) for name in names]
    there = stamps_below(folder) if is_url(folder) else None
    if there is not None:
        return [output for output in outputs if output not in there]
    return [output for output in outputs if not os.path.lexists(output)]


def settings_of(path: str) -> dict[str, Any] | None:
    """The settings of the run that wrote this journal; None if there is no journal."""
    try:
        settings = json.loads(first_line(path) or b"")["settings"]
    except (OSError, *NOT_OURS):
        return None
    return settings if isinstance(settings, dict) else None


def check_settings(path: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise UsageError, with the differences, if a journal's settings are not those of this run."""
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        was, is_now = (
            ", ".join(f"{key} {json.dumps(settings.get(key))}" for key in differing)
            for settings in (before, now)
        )
        hint = "resume with the same settings, or write to another folder"
        if differing == ["select"]:
            hint = _RULES.get(before["select"], "start again in another folder")
        raise UsageError(
            "other-settings", f"--resume: the run began with {was}, now {is_now}", hint, path
        )
