"""Cases by number: a file, and the command that reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from tests.fuzz import archives, bytewise, headers, pickles
from tests.fuzz.samples import samples

_OPTIONS = [
    *[()] * 6,
    ("--eval",),
    ("--over", "0"),
    ("--fill", "1"),
    ("--no-provenance",),
    ("-k", "*", "--exclude", "label"),
    ("--rng", "torch"),
    ("--exact", "--over", "0"),
]

# Commands that take longest are drawn least.
_COMMANDS = [
    *["apply"] * 25,
    *["piped", "convert", "kernels"] * 4,
    *["info"] * 10,
    "shards",
]


@dataclass(frozen=True)
class Case:
    """A file called `name`, made from a sample, and the command to run on it.

    `command` is apply, piped (the same from standard input), convert (into the other format),
    kernels (once with the one in C, once with numpy), shards (of a folder that it lies in), info
    or verify.
    """

    number: int
    sample: str
    data: bytes
    command: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"case.{self.sample.rpartition('.')[2]}"


@cache
def systematic() -> int:
    """The number of cases with single bytes, lengths and extensions."""
    return sum(bytewise.count(data) for data in samples().values())


def make(seed: int, number: int) -> Case:
    """The case with this number: first systematic ones, then cases drawn with the seed."""
    random = Random(f"{seed}/{number}")
    if number >= systematic():
        return draw(random, number)
    left = number
    for sample, data in samples().items():
        if left < bytewise.count(data):
            return _case(random, number, sample, bytewise.mutate(left, data))
        left -= bytewise.count(data)
    raise AssertionError("below systematic()")


def draw(random: Random, number: int = 0) -> Case:
    """A sample, mutated by a function that knows its structure."""
    sample = random.choice([*samples()])
    return _case(random, number, sample, mutator(sample)(random, samples()[sample]))


def mutator(sample: str) -> Callable[[Random, bytes], bytes]:
    """The mutation for the structure of a sample."""
    if sample.endswith(".safetensors"):
        return headers.mutate
    return _old if sample.startswith("old") else archives.mutate


def _old(random: Random, data: bytes) -> bytes:
    """One of the pickles at the start of a file from before torch 1.6."""
    before = random.choice((0, 1, 2, 3, 3, 3, 3, 4))
    head = b""
    for _ in range(before):
        ops, data = pickles.split(data)
        head += b"".join(code for _, code in ops)
    return head + pickles.mutate(random, data)


def _case(random: Random, number: int, sample: str, data: bytes) -> Case:
    command = random.choice(_COMMANDS)
    if sample.startswith("dropped") and random.random() < 0.3:
        command = "verify"
    options = () if command in ("info", "verify") else random.choice(_OPTIONS)
    if command == "shards" and "--rng" in options:  # it takes only one file
        options = ()
    return Case(number, sample, data, command, options)
