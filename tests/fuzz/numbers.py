"""Replacements for numbers and text in mutations."""

from random import Random

INTEGERS = [
    *(0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 65, 255, 256, 4096, 65535, 65536, -1, -2, -8),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64),
    *(-(2**31), -(2**63), 10**30),
]
TEXTS = [
    *("", " ", "x", "half", "__metadata__", "dropcli", "format", "pt", "a/b", "..", "../x", "/"),
    *("\0", "\n", "\x1b[31m", "\u202e", "é", "e\u0301", "\U0001f600", "[red]", "x" * 300, "0", "1"),
    *("true", "null", "NaN", "F32", "cpu", "cuda", "storage", "little", "big"),
]


def integer(random: Random, near: int | None = None) -> int:
    """Any number, or one close to the given number."""
    if near is not None and random.random() < 0.5:
        return near + random.choice((-8, -4, -2, -1, 1, 2, 4, 8))
    return random.choice(INTEGERS)


def text(random: Random) -> str:
    """Texts that parsers of numbers have misread."""
    return random.choice(TEXTS)
