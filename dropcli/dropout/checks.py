"""Check and normalise values of settings that users give in Python."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from dropcli.dropout.over import Over
from dropcli.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The range from which a probability is drawn uniformly, inside [0, 1]."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


def _wrong(name: str, needed: str, value: Any) -> UsageError:
    return UsageError(f"bad-{name.replace('_', '-')}", f"{name}: {value} is not {needed}")


def whole_number(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """An integer of any type but bool, from `least` to `most`."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = index(value)
    except TypeError:
        raise _wrong(name, "an integer", repr(value)) from None
    if number < least or (most is not None and number > most):
        limits = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise _wrong(name, f"an integer {limits}", number)
    return number


def _number(name: str, value: Any) -> float | int:
    """An int or float of Python, which JSON can hold; not text, not a bool."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number", repr(value))
    return value


def probability(p: Any) -> float | Range:
    """A number in [0, 1], or a pair of them, the lower one first."""
    if isinstance(p, Range):
        p = (p.low, p.high)
    pair = p if isinstance(p, tuple | list) else (p, p)
    if len(pair) != 2:
        raise _wrong("p", "a number or a pair of numbers", repr(p))
    low, high = (_number("p", end) for end in pair)
    if not 0 <= low <= high <= 1:
        needed = "a range from 0 to 1, the lower end first" if pair is p else "a number from 0 to 1"
        raise _wrong("p", needed, p)
    return Range(float(low), float(high)) if pair is p else float(low)


def over_or_mode(mode: Any, over: Any) -> Over | None:
    """The dimensions that `mode` or `over` names; only one of the two can be given."""
    if mode is None:
        return Over.of(over)
    if not isinstance(mode, str):
        raise _wrong("mode", "text", repr(mode))
    if over is not None:
        raise UsageError(
            "mode-and-over",
            f"--mode {mode} and --over {Over.of(over)}: only one of them can be given",
            "both say what one decision covers; --mode channel is --over 0,1",
        )
    return Over.of_mode(mode)


def fill_value(fill: Any) -> float | int | None:
    """A finite number, or None."""
    if fill is None:
        return None
    number = _number("fill", fill)
    if not math.isfinite(number):
        raise _wrong("fill", "a finite number", number)
    return number


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """One glob, or several."""
    several = (value,) if isinstance(value, str) else value
    if isinstance(several, Iterable) and not isinstance(several, bytes):
        found = tuple(several)
        if all(isinstance(pattern, str) for pattern in found):
            return found
    raise _wrong(name, "one glob or several, as text", repr(value))


def choice(name: str, value: Any, *choices: str) -> str:
    """One of these words."""
    if value not in choices:
        raise _wrong(name, " or ".join(choices), repr(value))
    return str(value)


def flag(name: str, value: Any) -> bool:
    """True or False; other values that Python treats as true or false are errors."""
    if not isinstance(value, bool | np.bool_):
        raise _wrong(name, "True or False", repr(value))
    return bool(value)
