"""Strict parsers for the values of options: what is not clearly a value is an error.

Python's own `float` and `int` accept `0_1`, Arabic digits, and numbers that round to other values.
A probability that becomes 1.0 by mistake sets a whole dataset to zero.
"""

import math
import re
import shlex
from collections.abc import Callable, Sequence

from dropcli.errors import UsageError

# Compiled where they are used: --help needs none of them.
_NUMBER = (
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"  # exponents that Decimal can take
)
_INTEGER = r"[+-]?[0-9]+"
_DIGITS = r"[0-9]+"
_PERCENT = r"([0-9]*\.?[0-9]{1,4}) ?%+|([2-9]|[0-9]{2,3})"
_DECIMAL_COMMA = r"0?,[0-9]{1,6}"
_FRACTION = r"([0-9]{1,4})/([1-9][0-9]{0,3})"
_RANGE = r"(0?\.[0-9]{1,6}) ?(-|\.\.|,|to) ?(0?\.[0-9]{1,6}|1)"
_JOINED = r"(.+\.(?:pt|pth|safetensors))(-p ?[0-9.:]+|-j ?[0-9]+|-[fqvn])"
_DIMENSIONS = r"-?[0-9][0-9,:-]*"
_QUOTES = " \t\n'\"\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}" + (
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
)
_PATCH = r"(?:patch|block|cutout|dropblock)[:=]?([1-9][0-9]{0,3})(x\1)?"
# Names of the modes in other libraries.
_MODES = {
    "element": "dropout elementwise elements none",
    "channel": "1d 2d 3d channelwise dropout1d dropout2d dropout3d spatial",
    "pixel": "pixels pixelwise",
    "sample": "batch droppath example item samples",
    "feature": "col column columns",
    "patch:8": "block cutout dropblock erase hole square",
}


def choice(option: str, *words: str) -> Callable[[str], str]:
    """The parser of an option that takes one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            import difflib  # slow for --help

            near = difflib.get_close_matches(text.lower(), words, 1)
            raise UsageError(
                f"bad-{option[2:]}",
                f"{option}: '{text}' is not {', '.join(words[:-1])} or {words[-1]}",
                f"did you mean {near[0]}?" if near else None,
            )
        return text

    return parse


def integer(
    option: str, least: int, most: int, code: str, hint: str | None = None
) -> Callable[[str | int], int]:
    """The parser of an option that takes decimal digits of this range."""
    needed = "a positive integer" if least else f"an integer from 0 to {most}"

    def parse(value: str | int) -> int:
        if isinstance(value, int):  # typer parses the default too
            return value
        if re.fullmatch(_DIGITS, value) and len(value) <= 100 and least <= int(value) <= most:
            return int(value)
        large = re.fullmatch(_DIGITS, value) and least and value.strip("0")
        problem = f"is more than {most:,}" if large else f"is not {needed}"
        meant = _without_equals(option, value) or _integer_meant(value, least, most) or hint
        raise UsageError(code, f"{option}: '{value}' {problem}", meant)

    return parse


def _integer_meant(text: str, least: int, most: int) -> str | None:
    """The hint for 0x2a, 1e3, 7.0 and 1,000, and for a shell variable that is not set."""
    if not text:
        return "is a shell variable unset?"
    text = text.strip(_QUOTES)
    meant = -1
    if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        meant = int(text, 16)
    elif re.fullmatch(r"[0-9]{1,3}([,_ ][0-9]{3}){0,6}", text):
        meant = int(re.sub("[,_ ]", "", text))
    elif re.fullmatch(r"[0-9]{1,9}(\.0+)?(e[0-9])?", text):
        meant = int(float(text))
    return f"did you mean {meant}?" if least <= meant <= most else None


def not_empty(code: str, message: str) -> Callable[[str], str]:
    """The parser of text that is empty if a shell variable is not set."""

    def parse(text: str) -> str:
        if not text:
            raise UsageError(code, message, "is a shell variable unset?")
        return text

    return parse


path = not_empty("empty-path", "the path is empty")  # for Python it is the current folder


def output_path(text: str) -> str:
    """The path of `-o`. Refuses `-o=y.pt`, which would be a file `=y.pt`, and `-oy.pt-f`."""
    if hint := _without_equals("-o", text):
        raise UsageError("bad-output", f"-o: '{text}' begins with an equals sign", hint)
    if joined := re.fullmatch(_JOINED, text, re.DOTALL):
        hint = f"did you mean -o {shlex.quote(joined[1])} {joined[2]}?"
        raise UsageError("bad-output", f"-o: '{text}' ends like an option", hint)
    return path(text)


def _without_equals(option: str, text: str) -> str | None:
    """The hint for `-p=0.3`: short options take their value without the sign."""
    return f"did you mean {option} {text[1:]}?" if text[:1] == "=" and text[1:] else None


def parse_p(value: str | float) -> float | tuple[float, float]:
    """A probability, or a range such as 0.1:0.5 to draw it from."""
    low, colon, high = str(value).partition(":")  # typer parses the default too
    if not colon:
        return _parse_probability(low)
    ends = (_parse_probability(low), _parse_probability(high))
    if ends[0] > ends[1]:
        hint = f"did you mean {high}:{low}?"
        raise UsageError("bad-p", f"-p: the range '{value}' ends below its start", hint)
    return ends


def _parse_probability(text: str) -> float:
    """A number from 0 to 1. It is an error if rounding changes its meaning, as with 1e-400."""
    from decimal import Decimal  # slow for --help

    exact = Decimal(text) if re.fullmatch(_NUMBER, text) else None
    if exact is None or not 0 <= exact <= 1:
        raise UsageError("bad-p", f"-p: '{text}' is not a number from 0 to 1", _p_hint(text))
    p = abs(float(text))
    if (p == 0) != (exact == 0) or (p == 1) != (exact == 1):
        raise UsageError("bad-p", f"-p: '{text}' rounds to {p:g}", f"write {p:g} if you mean it")
    return p


def _p_hint(text: str) -> str | None:
    """The hint for percentages, fractions and decimal commas."""
    if hint := _without_equals("-p", text):
        return hint
    meant = -1.0
    text = text.replace("\N{MINUS SIGN}", "-")
    if re.fullmatch(_NUMBER, text) and -1 <= float(text) < 0:
        meant = -float(text)
    elif percent := re.fullmatch(_PERCENT, text):
        meant = float(percent[1] or percent[2]) / 100
    elif fraction := re.fullmatch(_FRACTION, text):
        meant = int(fraction[1]) / int(fraction[2])
    elif ends := re.fullmatch(_RANGE, text):
        return f"did you mean {ends[1]}:{ends[3]}?"
    elif re.fullmatch(_DECIMAL_COMMA, text):
        meant = float(text.replace(",", "."))
    elif re.fullmatch(_NUMBER, bare := text.strip(_QUOTES)) and bare != text:
        meant = float(bare)
    return (
        f"did you mean {meant:g}?" if 0 <= meant <= 1 else "as in -p 0.3, or -p 0.1:0.5 for a range"
    )


def completion(words: Callable[[], Sequence[str]] | None) -> Callable[[str], list[str]] | None:
    """A function that returns the words that complete a prefix; None without words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)] if words else []

    return complete if words else None


def modes() -> Sequence[str]:
    """The words that complete `--mode`."""
    from dropcli.dropout import MODES  # slow for --help

    return [*MODES[:-1], "patch:8"]


def topics() -> Sequence[str]:
    """The words that complete `dropcli help`: the pages of the guide."""
    from importlib.resources import files  # slow for --help

    folder = files("dropcli") / "guide"
    return sorted(page.name.removesuffix(".md") for page in folder.iterdir())


def parse_mode(text: str) -> str:
    """The name of a mode; it is checked with the other settings."""
    meant = _mode_meant(text)
    if meant == text:
        return text
    meant = f"--over {text}" if re.fullmatch(_DIMENSIONS, text) else meant
    if meant:
        raise UsageError("bad-mode", f"--mode: '{text}' is not a mode", f"did you mean {meant}?")
    return text


def _mode_meant(text: str) -> str | None:
    """The mode that has this name in another library."""
    if size := re.fullmatch(_PATCH, text):
        return f"patch:{size[1]}"
    return next((mode for mode, names in _MODES.items() if text.lower() in names.split()), None)


def parse_over(text: str) -> str:
    """The dimensions along which decisions differ, as in 0,2:8."""
    from dropcli.dropout import MODES, Over  # slow for --help

    bare = re.sub(r"[,x; ]+", ",", re.sub(r"[][(){}]", "", text)).strip(",")
    mode = text if text in MODES else _mode_meant(text)
    if mode:
        hint = f"did you mean --mode {mode}?"
        raise UsageError("bad-over", f"--over: '{text}' is a mode, not dimensions", hint)
    if bare != text and re.fullmatch(_DIMENSIONS, bare):
        message = f"--over: '{text}' is not a list of dimensions"
        raise UsageError("bad-over", message, f"did you mean {bare}?")
    Over.parse(text)
    return text


def _fill_hint(text: str) -> str:
    bare = text.strip(_QUOTES).replace(",", ".", 1)
    if re.fullmatch(_NUMBER, bare):
        return f"did you mean {bare}?"
    return "it is one number for all dropped elements, as in --fill 0.5"


def parse_fill(text: str) -> float | int:
    """A finite number; an integer stays one, so that it is exact in 64-bit tensors."""
    if re.fullmatch(_INTEGER, text) and len(text) < 100 and text not in ("-0", "-00"):
        return int(text)
    if not re.fullmatch(_NUMBER, text) or not math.isfinite(float(text)):
        raise UsageError("bad-fill", f"--fill: '{text}' is not a finite number", _fill_hint(text))
    if float(text) == 0 and re.match(r"[^eE]*[1-9]", text):
        raise UsageError("bad-fill", f"--fill: '{text}' rounds to 0", "write 0 if you mean it")
    return float(text)
