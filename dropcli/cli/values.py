"""Values of options from their text, strictly: what is not clearly a value is an error.

Python's own `float` and `int` take `0_1`, Arabic digits and numbers that round to something else;
a probability of 1.0 that somebody did not mean zeroes a dataset.
"""

import difflib
import math
import re
from collections.abc import Callable
from decimal import Decimal

from dropcli.dropout import Over
from dropcli.errors import UsageError

_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
)  # exponents that Decimal can take
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = re.compile(r"[0-9]+")


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


def parse_p_per(text: str) -> str:
    """For what a probability is drawn: each file, or each sample."""
    return _choose("--p-per", text, ("file", "sample"))


def parse_rng(text: str) -> str:
    """Whose masks: those of the contract, or torch's own."""
    return _choose("--rng", text, ("dropcli", "torch"))


def parse_min_keep(text: str) -> int:
    """How many decisions of a group are kept in any case, 1 or more."""
    if not _DIGITS.fullmatch(text) or len(text) > 18 or not int(text):
        raise UsageError(
            "bad-min-keep", f"--min-keep: expected an integer of 1 or more, got '{text}'"
        )
    return int(text)


def _choose(option: str, text: str, choices: tuple[str, str]) -> str:
    if text not in choices:
        near = difflib.get_close_matches(text, choices, 1)
        raise UsageError(
            f"bad-{option[2:]}",
            f"{option}: expected {choices[0]} or {choices[1]}, got '{text}'",
            f"did you mean {near[0]}?" if near else None,
        )
    return text


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


def parse_mode(text: str) -> str:
    """The name of what one decision covers."""
    Over.of_mode(text)
    return text


def parse_seed(text: str) -> int:
    """A seed, 0 to 2**64 - 1, in decimal digits."""
    if not _DIGITS.fullmatch(text) or len(text) > 100 or int(text) >= 2**64:
        raise UsageError(
            "bad-seed", f"--seed: expected an integer from 0 to 18446744073709551615, got '{text}'"
        )
    return int(text)


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


parse_over = Over.parse


def parse_path(text: str) -> str:
    """A path; the empty one would mean the current folder to Python."""
    if not text:
        raise UsageError("empty-path", "expected a path, got ''", "is a shell variable unset?")
    return text


def parse_stream(text: str) -> str:
    """The name of a stream; a file's is never empty."""
    if not text:
        raise UsageError(
            "empty-stream", "--stream: expected a name, got ''", "is a shell variable unset?"
        )
    return text


def parse_count(option: str) -> Callable[[str | int], int]:
    """The parser of an option that takes a number of at least 1; 0 is its default."""

    def parse(value: str | int) -> int:
        if value == 0 and isinstance(value, int):  # typer parses the default too
            return 0
        text = str(value)
        if not _DIGITS.fullmatch(text) or len(text) > 9 or int(text) < 1:
            raise UsageError("bad-count", f"{option}: expected an integer from 1 on, got '{text}'")
        return int(text)

    return parse


def choose_output(output: str | None, in_place: bool) -> str | None:
    """What `-o` and `--in-place` come to: None to replace the inputs."""
    if in_place and output is not None:
        raise UsageError("two-outputs", "expected -o or --in-place, got both")
    if not in_place and output is None:
        raise UsageError(
            "no-output",
            "expected an output, got none",
            "add -o OUTPUT, -o - for standard output, or --in-place to replace the input",
        )
    return output


def check_apply(
    inputs: list[str], files_from: str | None, *, null: bool, quiet: bool, verbose: bool
) -> None:
    """UsageError for words of the command line that do not go together."""
    if quiet and verbose:
        raise UsageError("quiet-and-verbose", "expected -q or -v, got both")
    if not inputs and files_from is None:
        message = "missing argument: expected an INPUT, got none"
        raise UsageError("no-input", message, "dropcli apply --help")
    if null and files_from is None:
        raise UsageError("null", "-0: expected --files-from too, got none")


def choose_over(mode: str | None, over: Over | None) -> Over | None:
    """What `--mode` and `--over` come to."""
    if mode is not None and over is not None:
        raise UsageError(
            "mode-and-over",
            f"expected --mode or --over, got both --mode {mode} and --over {over}",
            "--mode channel is --over 0,1; without either every element decides alone",
        )
    return over if mode is None else Over.of_mode(mode)
