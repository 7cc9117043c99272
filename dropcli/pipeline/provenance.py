"""The record of an application, read back: settings from JSON, however damaged it may be."""

import os
from typing import Any

from dropcli.cli.values import parse_over
from dropcli.dropout.ranges import Between
from dropcli.dropout.settings import Dropout, torch_version
from dropcli.errors import FormatError, UsageError

_MOST_COPIES = 100_000  # of a file that is joined from them, lest a number fills the memory
_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "p": (float, int, list),
    "seed": (int, _NONE),
    "over": (str, _NONE),
    "fill": (float, int, _NONE),
    **dict.fromkeys(("key", "exclude"), (list,)),
    **dict.fromkeys(("rescale", "eval", "alpha", "exact"), (bool,)),
    **dict.fromkeys(("p_per", "rng", "torch"), (str,)),
    "min_keep": (int,),
}


def settings_from(entry: Any) -> Dropout:
    """The settings that this entry of a provenance records.

    FormatError if it is none of ours, or of a torch that is not installed.
    """
    try:
        settings = dict(entry["settings"])
        _check_types(settings)
        os.fsencode(entry["stream"])
        torch = settings.pop("torch", None)
        if torch not in (None, torch_version()):
            raise FormatError(
                "other-torch",
                f"expected masks of torch {torch_version()}, which is installed, got {torch}",
                f"install torch {torch} to verify it",
            )
        p, over = settings.pop("p"), settings.pop("over")
        dropout = Dropout(
            p=Between(*p) if isinstance(p, list) else p,
            over=None if over is None else parse_over(over),
            seed=settings.pop("seed") or 0,
            key=tuple(settings.pop("key")),
            exclude=tuple(settings.pop("exclude")),
            **settings,
        )
        stream, copy = entry["stream"], entry["copy"]
        known = dropout.provenance(stream, copy)
        same = (
            isinstance(stream, str)
            and type(copy) is int
            and known == {key: entry[key] for key in known}
            and set(entry) <= {*known, "concat"}
        )
    except UsageError as error:
        raise FormatError("foreign-provenance", f"expected settings, got these: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        same = False
    if not same:
        raise FormatError(
            "foreign-provenance",
            "expected the settings of an application, got something else in the provenance",
            "was it written by another version of dropcli?",
        )
    return dropout


def _check_types(settings: dict[str, Any]) -> None:
    """TypeError unless every setting is what JSON has for it."""
    for name, value in settings.items():
        if type(value) not in _TYPES[name]:
            raise TypeError(name)
    for name in ("key", "exclude"):
        if not all(isinstance(pattern, str) for pattern in settings[name]):
            raise TypeError(name)


def copies_from(entry: dict[str, Any]) -> tuple[int, ...]:
    """The copies that were written into one file, none if there is but one."""
    match entry.get("concat"):
        case None:
            return ()
        case {"copies": int() as copies, "original": bool() as original, **more} if (
            0 < copies <= _MOST_COPIES and not more and copies is not True
        ):
            return tuple(range(0 if original else 1, copies + 1))
    raise FormatError(
        "foreign-provenance", "expected a number of copies in the provenance, got something else"
    )
