"""The record of an application in its output: write, read and compare it."""

import os
from contextlib import closing
from dataclasses import replace
from typing import Any, Unpack, cast

from dropcli.dropout import Dropout, Settings, torch_version
from dropcli.errors import FormatError, UsageError, located
from dropcli.files import place_of
from dropcli.formats import open_source
from dropcli.masks import CONTRACT

_MAX_COPIES = 100_000  # in one file; a damaged number could fill the memory
# Recorded settings that a given setting removes, because the two exclude each other.
_REPLACED: dict[str, dict[str, Any]] = {
    "p": {"p_per": "file"},
    "mode": {"over": None},
    "key": {"all_floats": False},
    "all_floats": {"key": ()},
    "alpha": {"fill": None, "rescale": True},
    "fill": {"alpha": False},
    "rescale": {"alpha": False},
}


def record(
    dropout: Dropout,
    stream: str,
    copy: int,
    concat: tuple[int, ...] = (),
    *,
    mask: bool = False,
) -> dict[str, Any]:
    """One entry of the provenance, with everything that is needed to compute the output again.

    `concat` are the copies that are written into one file; 0 is the unchanged file. `mask` means
    that the file holds the keep mask.
    """
    settings = dropout.settings()
    contract = f"torch/{settings['torch']}" if dropout.rng == "torch" else CONTRACT
    entry = {"contract": contract, "settings": settings, "stream": stream, "copy": copy}
    if mask:
        entry["mask"] = True
    if concat:
        entry["concat"] = {"copies": concat[-1], "original": concat[0] == 0}
    return entry


def extended(entries: list[Any] | None, entry: dict[str, Any]) -> list[Any]:
    """The provenance of an output. Raises FormatError if the source has other data in its place."""
    if entries is None:
        raise FormatError(
            "foreign-provenance",
            "the provenance in the file is not a list of applications",
            "add --no-provenance to keep it unchanged",
        )
    return [*entries, entry]


def read_entry(entry: Any) -> tuple[Dropout, dict[str, Any]]:
    """The settings that an entry records, and the entry as it was written.

    Raises:
        FormatError: dropcli did not write it, or it needs a torch that is not installed.
    """
    try:
        settings, stream, copy = entry["settings"], entry["stream"], entry["copy"]
        os.fsencode(stream)
        if settings.get("torch") and settings["torch"] != torch_version():
            raise FormatError(
                "other-torch",
                f"the masks are those of torch {settings['torch']}, but torch {torch_version()} "
                "is installed",
                f"install torch {settings['torch']} for these masks",
            )
        dropout = Dropout.from_settings(settings)
        known = record(dropout, stream, copy, mask="mask" in entry)
        if "select" not in settings:  # written before this setting existed
            known["settings"].pop("select")
        ours = (
            isinstance(stream, str)
            and type(copy) is int
            and known == {key: entry[key] for key in known}
            and set(entry) <= {*known, "concat"}
        )
    except UsageError as error:
        message = f"the settings in the provenance are wrong: {error}"
        raise FormatError("foreign-provenance", message) from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        ours = False
    if not ours:
        raise FormatError(
            "foreign-provenance",
            "the provenance does not record an application of dropcli",
            "was it written by another version of dropcli?",
        )
    if "concat" in entry:
        known["concat"] = entry["concat"]
    return dropout, known


def copies_from(entry: dict[str, Any]) -> tuple[int, ...]:
    """The copies that were written into one file; empty without --concat."""
    match entry.get("concat"):
        case None:
            return ()
        case {"copies": int() as copies, "original": bool() as original, **more} if (
            0 < copies <= _MAX_COPIES and not more and copies is not True
        ):
            return tuple(range(0 if original else 1, copies + 1))
    raise FormatError("foreign-provenance", "the provenance records no valid number of copies")


def is_same(entry: Any, ours: dict[str, Any]) -> bool:
    """Whether both record the same application. A missing `select` means "all"."""
    settings = entry.get("settings") if isinstance(entry, dict) else None
    return isinstance(settings, dict) and (
        {**entry, "settings": {"select": "all", **settings}} == ours
    )


def has_same_key(entry: Any, ours: dict[str, Any]) -> bool:
    """Whether both have the same contract, stream and copy."""
    names = ("contract", "stream", "copy")
    return isinstance(entry, dict) and all(entry.get(name) == ours[name] for name in names)


def was_applied(entries: list[Any], dropout: Dropout, ours: dict[str, Any]) -> bool:
    """Whether one of these applications used the same masks."""
    # torch's masks depend on the seed alone.
    parts = ("contract",) if dropout.rng == "torch" else ("contract", "stream", "copy")
    return any(
        isinstance(entry, dict)
        and isinstance(entry.get("settings"), dict)
        and not (dropout.eval or entry["settings"].get("eval"))
        and entry["settings"].get("seed") == dropout.seed
        and all(entry.get(key) == ours[key] for key in parts)
        for entry in entries
    )


class SeededSettings(Settings, total=False):
    """All settings; `like` is a file that records them."""

    seed: int | None
    like: str | None


def choose_settings(**given: Unpack[SeededSettings]) -> tuple[Dropout, bool]:
    """The settings of a run, and whether its seed was drawn because none was given.

    Raises:
        UsageError: a value is wrong, or two settings exclude each other.
        FormatError: the file records no settings.
    """
    like, seed = given.pop("like", None), given.pop("seed", None)
    drawn = int.from_bytes(os.urandom(8))
    settings = cast(Settings, given)
    if like is None:
        return Dropout.of(drawn if seed is None else seed, **settings), seed is None
    recorded = _recorded(like)
    changes: dict[str, Any] = {}
    for name in settings:
        changes |= _REPLACED.get(name, {})
    if seed is None:
        seed = drawn if recorded.eval else recorded.seed  # no seed is recorded with --eval
    return replace(recorded, **changes | {**settings, "seed": seed}), recorded.eval


def _recorded(path: str) -> Dropout:
    """The settings of the last application that a file records."""
    with located(place_of(path)), closing(open_source(path)) as source:
        if not source.provenance:
            raise FormatError(
                "no-settings",
                "records no settings of dropcli",
                "name a file that `dropcli apply` or `dropcli mask` wrote",
            )
        return read_entry(source.provenance[-1])[0]
