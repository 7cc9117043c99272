"""Dropout as settings, and what they do to the elements of a tensor.

The arithmetic is that of `torch.nn.Dropout` on the CPU: `x * (keep.to(d) / (1 - p))`, each step
rounded to the dtype d, so kept values are equal bit for bit, dropped negatives are -0.0, dropped
NaN stays NaN and a dropped infinity becomes NaN.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from operator import index
from typing import Any

from dropcli.dropout.combinations import check_combination
from dropcli.dropout.over import Over
from dropcli.dropout.ranges import Between
from dropcli.errors import TensorError, UsageError
from dropcli.masks.keystream import CONTRACT
from dropcli.tensors import TensorInfo

_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Dropout:
    """The settings of one application, checked once, here.

    p: probability in [0, 1], or a range to draw it from for each file or sample (p_per); seed:
    0 .. 2**64 - 1; over: None for one decision per element; fill: what dropped elements become,
    None for zero as torch computes it; key, exclude: globs on tensor names; eval: evaluation
    mode, in which dropout is off; alpha: as torch's AlphaDropout; exact, min_keep: how many
    decisions of a group drop; rng: whose masks. UsageError where these do not go together.
    """

    p: float | Between = 0.5
    seed: int = 0
    over: Over | None = None
    rescale: bool = True
    fill: float | int | None = None
    key: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    eval: bool = False
    p_per: str = "file"  # or "sample"
    alpha: bool = False
    exact: bool = False
    min_keep: int | None = None
    rng: str = "dropcli"  # or "torch"

    def __post_init__(self) -> None:
        ends = (self.p.low, self.p.high) if isinstance(self.p, Between) else (self.p, self.p)
        if not 0 <= ends[0] <= ends[1] <= 1:
            raise UsageError("bad-p", f"p: expected a number from 0 to 1, got {self.p}")
        object.__setattr__(self, "seed", whole_number("seed", self.seed))
        if not 0 <= self.seed < 2**64:
            raise UsageError(
                "bad-seed", f"seed: expected an integer from 0 to 2**64 - 1, got {self.seed}"
            )
        for name, value, choices in (
            ("p_per", self.p_per, ("file", "sample")),
            ("rng", self.rng, ("dropcli", "torch")),
        ):
            if value not in choices:
                expected = " or ".join(choices)
                raise UsageError(f"bad-{name}", f"{name}: expected {expected}, got {value!r}")
        if self.min_keep is not None and whole_number("min_keep", self.min_keep) < 1:
            raise UsageError("bad-min-keep", f"min_keep: expected 1 or more, got {self.min_keep}")
        if self.fill is not None and not math.isfinite(self.fill):
            raise UsageError("bad-fill", f"fill: expected a finite number, got {self.fill}")
        check_combination(self)

    def settings(self) -> dict[str, Any]:
        """The settings as JSON, as they stand in reports and provenance; rare ones where used."""
        return {**self._settings}

    @cached_property
    def _settings(self) -> dict[str, Any]:
        between = self.p if isinstance(self.p, Between) else None
        settings = {
            "p": [between.low, between.high] if between else self.p,
            "seed": None if self.eval else self.seed,  # nothing was drawn
            "over": None if self.over is None else str(self.over),
            "rescale": self.rescale,
            "fill": self.fill,
            "key": list(self.key),
            "exclude": list(self.exclude),
            "eval": self.eval,
        }
        rare = {
            "p_per": self.p_per if between else None,
            "alpha": self.alpha,
            "exact": self.exact,
            "min_keep": self.min_keep,
            "rng": self.rng if self.rng == "torch" else None,
            "torch": torch_version() if self.rng == "torch" else None,
        }
        return settings | {name: value for name, value in rare.items() if value}

    def provenance(self, stream: str, copy: int) -> dict[str, Any]:
        """The record of one application: all that is needed to derive the output again."""
        settings = self.settings()
        contract = f"torch/{settings['torch']}" if self.rng == "torch" else CONTRACT
        return {"contract": contract, "settings": settings, "stream": stream, "copy": copy}

    def warnings(self) -> list[str]:
        """What the user should know of the settings, though they are no error."""
        if self.rng == "torch" and not self.eval:
            return [
                f"--rng torch: these are the masks of torch {torch_version()}, which does not "
                "promise the same ones in its next version"
            ]
        return []

    def select(self, tensors: Iterable[TensorInfo]) -> set[str]:
        """The names of the tensors to drop; TensorError if a pattern matches none."""
        tensors = list(tensors)
        for option, patterns in (("--key", self.key), ("--exclude", self.exclude)):
            for pattern in patterns:
                if not any(_matches(tensor.name, pattern) for tensor in tensors):
                    raise _no_match(option, pattern, [tensor.name for tensor in tensors])

        selected = [tensor for tensor in tensors if self._selects(tensor)]
        for tensor in selected:
            self._check_dtype(tensor)
        return set() if self.eval else {tensor.name for tensor in selected}

    def _selects(self, tensor: TensorInfo) -> bool:
        if any(_matches(tensor.name, pattern) for pattern in self.exclude):
            return False
        if self.key:
            return any(_matches(tensor.name, pattern) for pattern in self.key)
        return tensor.dtype.kind == "float" and not tensor.unsupported

    def _check_dtype(self, tensor: TensorInfo) -> None:
        kind, name = tensor.dtype.kind, tensor.dtype.name
        if tensor.unsupported:
            raise in_tensor(
                tensor,
                TensorError(
                    "special-tensor",
                    f"expected an ordinary tensor, but {tensor.unsupported}",
                    "leave it out with --exclude: it is then copied",
                ),
            )
        if kind == "opaque":
            raise in_tensor(
                tensor,
                TensorError(
                    "dtype-without-zero",
                    f"expected a dtype that dropout can write, got {name}",
                    "leave it out with --exclude: it is then copied",
                ),
            )
        if kind != "float" and (self.alpha or self.rng == "torch"):
            option = "--alpha" if self.alpha else "--rng torch"
            raise in_tensor(
                tensor,
                TensorError(
                    "not-for-torch",
                    f"expected F64, F32, F16 or BF16 for {option}, as torch does, got {name}",
                    "leave it out with --exclude: it is then copied",
                ),
            )
        if kind in ("integer", "bool") and self.rescale:
            raise in_tensor(
                tensor,
                TensorError(
                    "integer-rescale",
                    f"expected a floating dtype to scale by 1/(1-p), got {name}",
                    "add --no-rescale to drop integers and bools, or leave it out with --exclude",
                ),
            )


def torch_version() -> str:
    """The torch that is installed, without the second that its import takes."""
    from importlib.metadata import version  # 20 ms

    return version("torch")


def whole_number(name: str, value: Any) -> int:
    """An integer of any type but bool; what looks like another would make other masks."""
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise UsageError(f"bad-{name}", f"{name}: expected an integer, got {value!r}")


def _matches(name: str, pattern: str) -> bool:
    """Glob match; a name always matches itself, brackets and all."""
    return name == pattern or fnmatchcase(name, pattern)


def _no_match(option: str, pattern: str, names: list[str]) -> TensorError:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMES_SHOWN]) or "no tensors"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return TensorError(
        "no-match",
        f"{option} '{pattern}': expected to match a tensor, got {shown}{more}",
        _pattern_hint(pattern, names),
    )


def _pattern_hint(pattern: str, names: list[str]) -> str:
    if "," in pattern:
        return "give each pattern an option of its own"
    near = difflib.get_close_matches(pattern, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    return "patterns are globs on whole names, as in '*.weight'"


def in_tensor(tensor: TensorInfo, error: TensorError) -> TensorError:
    """The error, saying which tensor it is about."""
    return TensorError(error.code, f"tensor '{tensor.name}': {error.message}", error.hint)
