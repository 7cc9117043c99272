"""Values of options from their text, strictly: what is not clearly a value is an error.

Python's own `float` and `int` take `0_1`, Arabic digits and numbers that round to something else;
a probability that becomes 1.0 by mistake zeroes a dataset.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from dropcli.errors import UsageError

_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
)  # exponents that Decimal can take
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_PERCENT = re.compile(r"([0-9]{1,3}(\.[0-9]{1,4})?) ?%?")
_DECIMAL_COMMA = re.compile(r"0?,[0-9]{1,6}")
_FRACTION = re.compile(r"([0-9]{1,4})/([1-9][0-9]{0,3})")


def choice(option: str, *words: str) -> Callable[[str], str]:
    """The parser of an option that takes one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            near = difflib.get_close_matches(text.lower(), words, 1)
            raise UsageError(
                f"bad-{option[2:]}",
                f"{option}: '{text}' is not {', '.join(words[:-1])} or {words[-1]}",
                f"did you mean {near[0]}?" if near else None,
            )
        return text

    return parse


def integer(option: str, least: int, most: int, code: str) -> Callable[[str | int], int]:
    """The parser of an option that takes decimal digits of this range."""
    needed = "a positive integer" if least else f"an integer from 0 to {most}"

    def parse(value: str | int) -> int:
        if isinstance(value, int):  # typer parses the default too
            return value
        if _DIGITS.fullmatch(value) and len(value) <= 100 and least <= int(value) <= most:
            return int(value)
        large = _DIGITS.fullmatch(value) and least and value.strip("0")
        problem = f"is more than {most:,}" if large else f"is not {needed}"
        raise UsageError(code, f"{option}: '{value}' {problem}", _without_equals(option, value))

    return parse


def not_empty(code: str, message: str) -> Callable[[str], str]:
    """The parser of text that is empty where a shell variable is not set."""

    def parse(text: str) -> str:
        if not text:
            raise UsageError(code, message, "is a shell variable unset?")
        return text

    return parse


path = not_empty("empty-path", "the path is empty")  # Python takes it for the current folder


def output_path(text: str) -> str:
    """The path of `-o`, for which `-o=y.pt` would be the file `=y.pt`."""
    if hint := _without_equals("-o", text):
        raise UsageError("bad-output", f"-o: '{text}' begins with an equals sign", hint)
    return path(text)


def _without_equals(option: str, text: str) -> str | None:
    """The hint for `-p=0.3`: short options take their value without the sign."""
    return f"did you mean {option} {text[1:]}?" if text[:1] == "=" and text[1:] else None


def parse_p(value: str | float) -> float | tuple[float, float]:
    """A probability, or two as in 0.1:0.5 to draw one between."""
    low, colon, high = str(value).partition(":")  # typer parses the default too
    if not colon:
        return _parse_probability(low)
    ends = (_parse_probability(low), _parse_probability(high))
    if ends[0] > ends[1]:
        hint = f"did you mean {high}:{low}?"
        raise UsageError("bad-p", f"-p: the lower end of '{value}' comes second", hint)
    return ends


def _parse_probability(text: str) -> float:
    """0 to 1. What would round to another meaning, as 1e-400 to 0, is an error."""
    exact = Decimal(text) if _NUMBER.fullmatch(text) else None
    if exact is None or not 0 <= exact <= 1:
        raise UsageError("bad-p", f"-p: '{text}' is not a number from 0 to 1", _p_hint(text))
    p = abs(float(text))
    if (p == 0) != (exact == 0) or (p == 1) != (exact == 1):
        raise UsageError("bad-p", f"-p: '{text}' rounds to {p:g}", f"write {p:g} if you mean it")
    return p


def _p_hint(text: str) -> str | None:
    """Percentages, fractions and decimal commas, in the form that was meant."""
    if hint := _without_equals("-p", text):
        return hint
    meant = None
    if (percent := _PERCENT.fullmatch(text)) and float(percent[1]) <= 100:
        meant = float(percent[1]) / 100
    elif (fraction := _FRACTION.fullmatch(text)) and int(fraction[1]) <= int(fraction[2]):
        meant = int(fraction[1]) / int(fraction[2])
    elif _DECIMAL_COMMA.fullmatch(text):
        meant = float(text.replace(",", "."))
    return None if meant is None else f"did you mean {meant:g}?"


def modes() -> Sequence[str]:
    """What completes after `--mode`."""
    from dropcli.dropout import MODES  # slow for --help

    return [*MODES[:-1], "patch:8"]


def parse_over(text: str) -> str:
    """The dimensions along which decisions differ, as in 0,2:8."""
    from dropcli.dropout import Over  # slow for --help

    Over.parse(text)
    return text


def parse_fill(text: str) -> float | int:
    """A finite number; an integer stays one, so that it is exact in 64-bit tensors."""
    if _INTEGER.fullmatch(text) and len(text) < 100 and text not in ("-0", "-00"):
        return int(text)
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise UsageError("bad-fill", f"--fill: '{text}' is not a finite number")
    if float(text) == 0 and Decimal(text) != 0:
        raise UsageError("bad-fill", f"--fill: '{text}' rounds to 0", "write 0 if you mean it")
    return float(text)
