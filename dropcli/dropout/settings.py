"""The settings of an application: a value that checks and normalises what people write."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property
from operator import index
from typing import Any, TypedDict, Unpack, cast

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


class MaskSettings(TypedDict, total=False):
    """What people may write for the settings that make a mask; see `Dropout`."""

    p: float | tuple[float, float]
    over: str | int | Sequence[int] | None
    mode: str | None
    p_per: str
    exact: bool
    min_keep: int | None


class ArraySettings(MaskSettings, total=False):
    """The same for all that makes the output of one array."""

    rescale: bool
    fill: float | None
    alpha: bool


class Settings(ArraySettings, total=False):
    """The same for the output of a file."""

    key: str | Sequence[str]
    exclude: str | Sequence[str]
    all_floats: bool
    eval: bool
    rng: str


@dataclass(frozen=True)
class Dropout:
    """The settings of one application, checked once, here.

    Args:
        p: the probability of dropping in [0, 1]; a pair of them is a range to draw it from, for
            each file or sample (`p_per`).
        seed: 0 to 2**64 - 1.
        over: the dimensions along which decisions differ, as 0, (0, 1), "0,2:8,3:8" or the name
            of a mode; None for one decision per element.
        rescale: whether kept elements are multiplied by 1 / (1 - p).
        fill: what dropped elements become; None for zero as torch computes it.
        key, exclude: globs on tensor names, one or several.
        all_floats: without `key`, drop every float tensor, those that look like labels too.
        eval: evaluation mode, in which dropout is off.
        alpha: as torch's AlphaDropout.
        exact, min_keep: how many decisions of a group drop, or are kept at least.
        rng: "dropcli", or "torch" for the masks of the torch that is installed.
        mode: another way to write `over`, as the command's `--mode`.

    Raises:
        UsageError: a value is wrong, or two do not go together.
    """

    p: float | Range = 0.5
    seed: int = 0
    over: Over | None = None
    rescale: bool = True
    fill: float | int | None = None
    key: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    all_floats: bool = False
    eval: bool = False
    p_per: str = "file"  # or "sample"
    alpha: bool = False
    exact: bool = False
    min_keep: int | None = None
    rng: str = "dropcli"  # or "torch"
    mode: InitVar[str | None] = None

    def __post_init__(self, mode: str | None) -> None:
        values: dict[str, Any] = {
            "p": _probability(self.p),
            "seed": _seed(self.seed),
            "over": _over(mode, self.over),
            "fill": _fill(self.fill),
            "key": _patterns("key", self.key),
            "exclude": _patterns("exclude", self.exclude),
            "p_per": _choice("p_per", self.p_per, "file", "sample"),
            "rng": _choice("rng", self.rng, "dropcli", "torch"),
            "min_keep": _min_keep(self.min_keep),
        }
        for name in ("rescale", "all_floats", "eval", "alpha", "exact"):
            values[name] = _flag(name, getattr(self, name))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_combination(self)

    @classmethod
    def of(cls, seed: int, **settings: Unpack[Settings]) -> "Dropout":
        """The constructor, with the types of what people may write."""
        return cls(seed=seed, **cast(Any, settings))

    def settings(self) -> dict[str, Any]:
        """The settings as JSON, as they stand in reports and provenance; rare ones where used."""
        return {**self._settings}

    @cached_property
    def _settings(self) -> dict[str, Any]:
        p_range = self.p if isinstance(self.p, Range) else None
        settings = {
            "p": [p_range.low, p_range.high] if p_range else self.p,
            "seed": None if self.eval else self.seed,  # nothing was drawn
            "over": None if self.over is None else str(self.over),
            "rescale": self.rescale,
            "fill": self.fill,
            "key": list(self.key),
            "exclude": list(self.exclude),
            "select": "all" if self.all_floats else SELECT_DATA,
            "eval": self.eval,
        }
        rare = {
            "p_per": self.p_per if p_range else None,
            "alpha": self.alpha,
            "exact": self.exact,
            "min_keep": self.min_keep,
            "rng": self.rng if self.rng == "torch" else None,
            "torch": torch_version() if self.rng == "torch" else None,
        }
        return settings | {name: value for name, value in rare.items() if value}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "Dropout":
        """The value whose `settings` these are; the rule of before there were two is "all".

        Raises:
            UsageError, LookupError, TypeError: they are not.
        """
        known = {"select": "all", **settings}
        known.pop("torch", None)
        select, p = known.pop("select"), known.pop("p")
        if select not in ("all", SELECT_DATA):
            raise LookupError(select)
        seed = known.pop("seed")
        known |= {"p": tuple(p) if isinstance(p, list) else p, "all_floats": select == "all"}
        return cls(seed=0 if seed is None else seed, **known)

    @property
    def drops_nothing(self) -> bool:
        """Whether nothing is to be dropped, whatever the tensors: evaluation mode, or p = 0."""
        return self.eval or (self.p.high if isinstance(self.p, Range) else self.p) == 0

    @property
    def depends_on_torch(self) -> bool:
        """Whether another version of torch may make other masks."""
        return self.rng == "torch" and not self.eval


SELECT_DATA = "data/1"  # the rule of `select.py`, by which tensors are selected without a key


def torch_version() -> str:
    """The torch that is installed, without the second that its import takes."""
    from importlib.metadata import version  # 20 ms

    return version("torch")


def whole_number(name: str, value: Any) -> int:
    """An integer of any type but bool; what looks like another would make other masks."""
    try:
        if not isinstance(value, bool | np.bool_):
            return index(value)
    except TypeError:
        pass
    raise UsageError(f"bad-{name}", f"{name}: expected an integer, got {value!r}")


def _code(name: str) -> str:
    return f"bad-{name.replace('_', '-')}"


def _number(name: str, value: Any) -> float | int:
    """A number of Python's own, which JSON knows; text and bools are none."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(_code(name), f"{name}: expected a number, got {value!r}")
    return value


def _probability(p: Any) -> float | Range:
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


def _seed(value: Any) -> int:
    seed = whole_number("seed", value)
    if not 0 <= seed < 2**64:
        raise UsageError("bad-seed", f"seed: expected an integer from 0 to 2**64 - 1, got {seed}")
    return seed


def _min_keep(value: Any) -> int | None:
    if value is None:
        return None
    number = whole_number("min_keep", value)
    if number < 1:
        raise UsageError("bad-min-keep", f"min_keep: expected 1 or more, got {number}")
    return number


def _over(mode: Any, over: Any) -> Over | None:
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


def _fill(fill: Any) -> float | int | None:
    if fill is None:
        return None
    number = _number("fill", fill)
    if not math.isfinite(number):
        raise UsageError("bad-fill", f"fill: expected a finite number, got {number}")
    return number


def _patterns(name: str, value: Any) -> tuple[str, ...]:
    """One glob, or several."""
    patterns = (value,) if isinstance(value, str) else value
    if not isinstance(patterns, Iterable) or isinstance(patterns, bytes):
        raise UsageError(_code(name), f"{name}: expected one or several globs, got {value!r}")
    found = tuple(patterns)
    for pattern in found:
        if not isinstance(pattern, str):
            raise UsageError(_code(name), f"{name}: expected text, got {pattern!r}")
    return cast(tuple[str, ...], found)


def _choice(name: str, value: Any, *choices: str) -> str:
    if value not in choices:
        raise UsageError(f"bad-{name}", f"{name}: expected {' or '.join(choices)}, got {value!r}")
    return str(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UsageError(_code(name), f"{name}: expected True or False, got {value!r}")
    return bool(value)


def _check_combination(dropout: Dropout) -> None:
    """UsageError for settings of which one has no meaning beside another."""
    if dropout.alpha and dropout.fill is not None:
        raise _clash("--alpha", "--fill", "alpha dropout has a fill of its own")
    if dropout.alpha and not dropout.rescale:
        raise _clash("--alpha", "--no-rescale", "alpha dropout has a scale of its own")
    if dropout.all_floats and dropout.key:
        raise _clash("--all-floats", "--key", "--key names what to drop, and nothing else drops")
    if dropout.p_per == "sample" and not isinstance(dropout.p, Range):
        raise UsageError(
            "p-per-without-range",
            f"--p-per sample: expected a range to draw each p from, got -p {dropout.p:g}",
            "say it as in -p 0.1:0.5",
        )
    grouping = _grouping(dropout)
    if grouping and dropout.over is None:
        raise UsageError(
            "no-groups",
            f"{grouping[0]}: expected --over or --mode channel, got element mode",
            "groups run along the last dimension of --over: the channels of a sample "
            "with --over 0,1",
        )
    if dropout.rng == "torch":
        _check_torch(dropout)


def check_torch_input(rng: str, stream: str | None, copies: int | None = None) -> None:
    """UsageError for what a mask key is made of, where there is no key."""
    if rng == "torch":
        for option, value in (("--stream", stream), ("--copies", copies)):
            if value is not None:
                raise _clash("--rng torch", option, "torch's masks depend on the seed alone")


def _check_torch(dropout: Dropout) -> None:
    """Its own modules know less."""
    over = dropout.over
    if over is not None and sorted(over.blocks) != [(0, 1), (1, 1)]:
        raise UsageError(
            "torch-over",
            f"--rng torch: expected element mode, --mode channel or --over 0,1, got --over {over}",
            "torch draws no other masks",
        )
    others = (["--alpha"] if dropout.alpha else []) + _grouping(dropout)
    if isinstance(dropout.p, Range):
        others.append(f"-p {dropout.p}")
    if others:
        raise _clash("--rng torch", others[0], "it makes what nn.Dropout and nn.Dropout2d make")


def _grouping(dropout: Dropout) -> list[str]:
    """The options given that count decisions in groups."""
    given = {"--exact": dropout.exact, "--min-keep": dropout.min_keep is not None}
    return [option for option in given if given[option]]


def _clash(option: str, other: str, hint: str) -> UsageError:
    return UsageError("do-not-go-together", f"expected {option} without {other}, got both", hint)
