"""Values of settings as people write them in Python, checked and normalised."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Any, cast

import numpy as np

from dropcli.dropout.over import Over
from dropcli.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The ends from which a probability is drawn uniformly, both in [0, 1], the lower one first."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


def whole_number(name: str, value: Any) -> int:
    """An integer of any type but bool; what looks like another would make other masks."""
    try:
        if not isinstance(value, bool | np.bool_):
            return index(value)
    except TypeError:
        pass
    raise UsageError(_code(name), f"{name}: expected an integer, got {value!r}")


def _code(name: str) -> str:
    return f"bad-{name.replace('_', '-')}"


def _number(name: str, value: Any) -> float | int:
    """A number of Python's own, which JSON knows; text and bools are none."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(_code(name), f"{name}: expected a number, got {value!r}")
    return value


def probability(p: Any) -> float | Range:
    """A number in [0, 1], or two of them, the lower one first."""
    if isinstance(p, Range):
        p = (p.low, p.high)
    pair = p if isinstance(p, tuple | list) else (p, p)
    if len(pair) != 2:
        raise UsageError("bad-p", f"p: expected a number, or two to draw it between, got {p!r}")
    low, high = (_number("p", end) for end in pair)
    if not 0 <= low <= high <= 1:
        shown = Range(low, high) if pair is p else p
        raise UsageError("bad-p", f"p: expected a number from 0 to 1, got {shown}")
    return Range(float(low), float(high)) if pair is p else float(low)


def seed_number(value: Any) -> int:
    """An integer from 0 to 2**64 - 1."""
    seed = whole_number("seed", value)
    if not 0 <= seed < 2**64:
        raise UsageError("bad-seed", f"seed: expected an integer from 0 to 2**64 - 1, got {seed}")
    return seed


def least_kept(value: Any) -> int | None:
    """An integer of 1 or more, or None."""
    if value is None:
        return None
    number = whole_number("min_keep", value)
    if number < 1:
        raise UsageError("bad-min-keep", f"min_keep: expected 1 or more, got {number}")
    return number


def over_or_mode(mode: Any, over: Any) -> Over | None:
    """What `mode` or `over` says, of which one at most is given."""
    if mode is None:
        return Over.of(over)
    if not isinstance(mode, str):
        raise UsageError("bad-mode", f"mode: expected text, got {mode!r}")
    if over is not None:
        raise UsageError(
            "mode-and-over",
            f"expected --mode or --over, got both --mode {mode} and --over {Over.of(over)}",
            "--mode channel is --over 0,1; without either every element decides alone",
        )
    return Over.of_mode(mode)


def fill_value(fill: Any) -> float | int | None:
    """A finite number, or None."""
    if fill is None:
        return None
    number = _number("fill", fill)
    if not math.isfinite(number):
        raise UsageError("bad-fill", f"fill: expected a finite number, got {number}")
    return number


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """One glob, or several."""
    patterns = (value,) if isinstance(value, str) else value
    if not isinstance(patterns, Iterable) or isinstance(patterns, bytes):
        raise UsageError(_code(name), f"{name}: expected one or several globs, got {value!r}")
    found = tuple(patterns)
    for pattern in found:
        if not isinstance(pattern, str):
            raise UsageError(_code(name), f"{name}: expected text, got {pattern!r}")
    return cast(tuple[str, ...], found)


def choice(name: str, value: Any, *choices: str) -> str:
    """One of these words."""
    if value not in choices:
        raise UsageError(_code(name), f"{name}: expected {' or '.join(choices)}, got {value!r}")
    return str(value)


def flag(name: str, value: Any) -> bool:
    """True or False, and nothing that Python would take for it."""
    if not isinstance(value, bool | np.bool_):
        raise UsageError(_code(name), f"{name}: expected True or False, got {value!r}")
    return bool(value)
