"""Values of options from their text, strictly: what is not clearly a value is an error.

Python's own `float` and `int` take `0_1`, Arabic digits and numbers that round to something else;
a probability that becomes 1.0 by mistake zeroes a dataset.
"""

import difflib
import math
import re
from collections.abc import Callable
from decimal import Decimal

from dropcli.errors import UsageError

_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
)  # exponents that Decimal can take
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = re.compile(r"[0-9]+")


def choice(option: str, *words: str) -> Callable[[str], str]:
    """The parser of an option that takes one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            near = difflib.get_close_matches(text, words, 1)
            raise UsageError(
                f"bad-{option[2:]}",
                f"{option}: expected {' or '.join(words)}, got '{text}'",
                f"did you mean {near[0]}?" if near else None,
            )
        return text

    return parse


def integer(
    option: str, expected: str, least: int, most: int, code: str | None = None
) -> Callable[[str | int], int]:
    """The parser of an option that takes decimal digits of this range."""

    def parse(value: str | int) -> int:
        if isinstance(value, int):  # typer parses the default too
            return value
        if _DIGITS.fullmatch(value) and len(value) <= 100 and least <= int(value) <= most:
            return int(value)
        message = f"{option}: expected an integer {expected}, got '{value}'"
        raise UsageError(code or f"bad-{option[2:]}", message)

    return parse


def not_empty(code: str, expected: str) -> Callable[[str], str]:
    """The parser of text that is empty where a shell variable is not set."""

    def parse(text: str) -> str:
        if not text:
            raise UsageError(code, f"{expected}, got ''", "is a shell variable unset?")
        return text

    return parse


path = not_empty("empty-path", "expected a path")  # '' would mean the current folder to Python


def parse_p(value: str | float) -> float | tuple[float, float]:
    """A probability, or two as in 0.1:0.5 to draw one between."""
    low, colon, high = str(value).partition(":")  # typer parses the default too
    if not colon:
        return _parse_probability(low)
    ends = (_parse_probability(low), _parse_probability(high))
    if ends[0] > ends[1]:
        raise UsageError(
            "bad-p",
            f"-p: expected the lower end first, got '{value}'",
            f"did you mean {high}:{low}?",
        )
    return ends


def _parse_probability(text: str) -> float:
    """0 to 1. What would round to another meaning, as 1e-400 to 0, is an error."""
    expected = f"-p: expected a number from 0 to 1, got '{text}'"
    if not _NUMBER.fullmatch(text):
        raise UsageError("bad-p", expected, _p_hint(text))
    exact, p = Decimal(text), abs(float(text))
    if not 0 <= exact <= 1:
        raise UsageError("bad-p", expected, _p_hint(text))
    if (p == 0) != (exact == 0) or (p == 1) != (exact == 1):
        raise UsageError("bad-p", f"{expected}, which rounds to {p:g}", f"say {p:g} if you mean it")
    return p


def _p_hint(text: str) -> str | None:
    """Percentages and decimal commas, in the form that was meant."""
    percent = re.fullmatch(r"([0-9]{1,2})%?", text)
    if percent:
        return f"did you mean {int(percent[1]) / 100:g}?"
    comma = re.fullmatch(r"0,[0-9]{1,6}", text)
    return f"did you mean {text.replace(',', '.')}?" if comma else None


def parse_fill(text: str) -> float | int:
    """A finite number; an integer stays one, so that it is exact in 64-bit tensors."""
    if _INTEGER.fullmatch(text) and len(text) < 100 and text not in ("-0", "-00"):
        return int(text)
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise UsageError("bad-fill", f"--fill: expected a finite number, got '{text}'")
    if float(text) == 0 and Decimal(text) != 0:
        raise UsageError(
            "bad-fill",
            f"--fill: expected a number that is not lost, got '{text}'",
            "it rounds to 0",
        )
    return float(text)
