"""The settings of an application: a value object that checks and normalises its arguments."""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, fields
from functools import cache, cached_property
from typing import Any, TypedDict, Unpack, cast

from dropcli.dropout.checks import (
    Range,
    choice,
    fill_value,
    flag,
    over_or_mode,
    patterns,
    probability,
    whole_number,
)
from dropcli.dropout.over import Over
from dropcli.errors import UsageError


class MaskSettings(TypedDict, total=False):
    """The arguments that determine a mask, without p and the seed; see `Dropout`."""

    over: Over | str | int | Sequence[int] | None
    mode: str | None
    p_per: str
    exact: bool
    min_keep: int | None
    rng: str


class ArraySettings(MaskSettings, total=False):
    """The arguments that determine the output for an array."""

    rescale: bool
    fill: float | None
    alpha: bool


class FileSettings(ArraySettings, total=False):
    """The arguments that determine the output for a file."""

    key: str | Sequence[str]
    exclude: str | Sequence[str]
    all_floats: bool
    eval: bool


class Settings(FileSettings, total=False):
    """All settings except the seed."""

    p: float | tuple[float, float]


@dataclass(frozen=True, repr=False)
class Dropout:
    """The settings of one application, checked and normalised.

    Args:
        p: the probability of dropping in [0, 1]; a pair of them is a range to draw it from, for
            each file or sample (`p_per`).
        seed: 0 to 2**64 - 1.
        over: the dimensions along which decisions differ, as 0, (0, 1), "0,2:8,3:8" or the name
            of a mode; None for one decision per element.
        rescale: whether kept elements are multiplied by 1 / (1 - p).
        fill: the value of dropped elements; None for zero as torch computes it.
        key, exclude: globs on tensor names, one or several.
        all_floats: without `key`, drop every float tensor, even if it looks like a label.
        eval: evaluation mode, in which dropout is off.
        alpha: alpha dropout, as in `nn.AlphaDropout`.
        exact: drop exactly round(p * n) decisions of each group of n.
        min_keep: keep at least this many decisions of each group.
        rng: "dropcli", or "torch" for the masks of the installed torch.
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
            "p": probability(self.p),
            "seed": whole_number("seed", self.seed, 0, 2**64 - 1),
            "over": over_or_mode(mode, self.over),
            "fill": fill_value(self.fill),
            "key": patterns("key", self.key),
            "exclude": patterns("exclude", self.exclude),
            "p_per": choice("p_per", self.p_per, "file", "sample"),
            "rng": choice("rng", self.rng, "dropcli", "torch"),
        }
        if self.min_keep is not None:
            values["min_keep"] = whole_number("min_keep", self.min_keep, 1)
        for name in ("rescale", "all_floats", "eval", "alpha", "exact"):
            values[name] = flag(name, getattr(self, name))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_combination(self)

    def __repr__(self) -> str:
        """The constructor call, without arguments that have their default."""
        low_high = (self.p.low, self.p.high) if isinstance(self.p, Range) else self.p
        shown: dict[str, Any] = {"p": low_high, "seed": self.seed}
        if self.over:
            shown |= {"mode": self.over.mode} if self.over.mode else {"over": str(self.over)}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("p", "seed", "over") and value != field.default:
                shown[field.name] = value
        arguments = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({arguments})"

    @classmethod
    def of(cls, seed: int, **settings: Unpack[Settings]) -> "Dropout":
        """The constructor, with types for everything that users may pass."""
        return cls(seed=seed, **cast(Any, settings))

    def settings(self) -> dict[str, Any]:
        """The settings as JSON, for reports and provenance; rare ones only if they are used."""
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
        """The value whose `settings` these are; a missing "select" means "all".

        Raises:
            UsageError, LookupError, TypeError: they are no such settings.
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
        """Whether nothing drops in any tensor: evaluation mode, or p = 0."""
        return self.eval or (self.p.high if isinstance(self.p, Range) else self.p) == 0

    @property
    def depends_on_torch(self) -> bool:
        """Whether masks may differ with another version of torch."""
        return self.rng == "torch" and not self.eval


SELECT_DATA = "data/1"  # the rule of `selection.py`, by which tensors are selected without a key


@cache
def torch_version() -> str:
    """The version of the installed torch, read without the slow import of torch."""
    from importlib.metadata import version  # 20 ms

    return version("torch")


def check_torch_input(rng: str, stream: str | None, copies: int | None = None) -> None:
    """Raise UsageError for a part of the mask key, given with `--rng torch`, which has no key."""
    if rng == "torch":
        for option, value in (("--stream", stream), ("--copies", copies)):
            if value is not None:
                raise _clash("--rng torch", option, "torch's masks depend on the seed alone")


def _check_combination(dropout: Dropout) -> None:
    """Raise UsageError for settings that exclude each other."""
    if dropout.alpha and dropout.fill is not None:
        raise _clash("--alpha", "--fill", "alpha dropout has its own fill")
    if dropout.alpha and not dropout.rescale:
        raise _clash("--alpha", "--no-rescale", "alpha dropout has its own scale")
    if dropout.all_floats and dropout.key:
        raise _clash("--all-floats", "--key", "--key already says which tensors to drop")
    if dropout.p_per == "sample" and not isinstance(dropout.p, Range):
        raise UsageError(
            "p-per-without-range",
            f"--p-per sample needs a range, not -p {dropout.p:g}",
            "write a range as in -p 0.1:0.5",
        )
    grouping = {"--exact": dropout.exact, "--min-keep": dropout.min_keep is not None}
    groupings = [option for option, given in grouping.items() if given]
    if groupings and dropout.over is None:
        raise UsageError(
            "no-groups",
            f"{groupings[0]} needs --over or --mode: single elements form no groups",
            "with --over 0,1 a group is the channels of a sample",
        )
    if dropout.rng == "torch":
        _check_torch(dropout, groupings)


def _check_torch(dropout: Dropout, groupings: list[str]) -> None:
    """Raise UsageError for settings that torch's own dropout modules do not have."""
    over = dropout.over
    if over is not None and sorted(over.blocks) != [(0, 1), (1, 1)]:
        raise UsageError(
            "torch-over",
            f"--rng torch cannot make masks for --over {over}",
            "torch drops single elements, or channels: --over 0,1",
        )
    others = (["--alpha"] if dropout.alpha else []) + groupings
    if isinstance(dropout.p, Range):
        others.append(f"-p {dropout.p}")
    if others:
        raise _clash(
            "--rng torch", others[0], "it makes only the masks of nn.Dropout and nn.Dropout2d"
        )


def _clash(option: str, other: str, hint: str) -> UsageError:
    return UsageError("do-not-go-together", f"{option} and {other} cannot be combined", hint)
