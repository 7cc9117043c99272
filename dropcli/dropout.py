"""Dropout as settings, and what they do to the elements of a tensor.

The arithmetic is that of `torch.nn.Dropout` on the CPU: `x * (keep.to(d) / (1 - p))`, each step
rounded to the dtype d, so kept values are equal bit for bit, dropped negatives are -0.0, dropped
NaN stays NaN and a dropped infinity becomes NaN.
"""

import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from dropcli.errors import TensorError, UsageError
from dropcli.kernels import Kernel, make_kernel
from dropcli.masks import CONTRACT, Mask, block_grid, element_grid, mask_key
from dropcli.over import Over
from dropcli.tensors import Dtype, TensorInfo

_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Dropout:
    """The settings of one application, checked once, here.

    p: probability in [0, 1]; seed: 0 .. 2**64 - 1; over: None for one decision per element;
    fill: what dropped elements become, None for zero as torch computes it; key, exclude: globs
    on tensor names; eval: evaluation mode, in which dropout is off.
    """

    p: float = 0.5
    seed: int = 0
    over: Over | None = None
    rescale: bool = True
    fill: float | int | None = None
    key: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    eval: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise UsageError("bad-p", f"p: expected a number from 0 to 1, got {self.p}")
        if not 0 <= self.seed < 2**64:
            raise UsageError(
                "bad-seed", f"seed: expected an integer from 0 to 2**64 - 1, got {self.seed}"
            )
        if self.fill is not None and not math.isfinite(self.fill):
            raise UsageError("bad-fill", f"fill: expected a finite number, got {self.fill}")

    def settings(self) -> dict[str, Any]:
        """The settings as JSON, as they stand in reports and provenance."""
        over = None if self.over is None else str(self.over)
        seed = None if self.eval else self.seed  # nothing was drawn
        key, exclude = list(self.key), list(self.exclude)
        return asdict(self) | {"seed": seed, "over": over, "key": key, "exclude": exclude}

    def provenance(self, stream: str, copy: int) -> dict[str, Any]:
        """The record of one application: all that is needed to derive the output again."""
        settings = self.settings()
        return {"contract": CONTRACT, "settings": settings, "stream": stream, "copy": copy}

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

    def plan(self, tensor: TensorInfo, stream: str, copy: int) -> "TensorDropout":
        """What to do to this tensor; TensorError, naming it, where the settings do not fit."""
        try:
            if self.over is None:
                grid = element_grid(tensor.shape)
            else:
                grid = block_grid(tensor.shape, self.over.resolve(tensor.shape))
            kernel = self._kernel(tensor.dtype)
        except TensorError as error:
            raise _in_tensor(tensor, error) from None
        key = mask_key(self.seed, os.fsencode(stream), tensor.name, copy)
        return TensorDropout(tensor, Mask(key, self.p, grid), kernel)

    def _kernel(self, dtype: Dtype) -> Kernel:
        if dtype not in self._kernels:
            self._kernels[dtype] = make_kernel(dtype, self.p, self.rescale, self.fill)
        return self._kernels[dtype]

    @cached_property
    def _kernels(self) -> dict[Dtype, Kernel]:
        return {}

    def _selects(self, tensor: TensorInfo) -> bool:
        if any(_matches(tensor.name, pattern) for pattern in self.exclude):
            return False
        if self.key:
            return any(_matches(tensor.name, pattern) for pattern in self.key)
        return tensor.dtype.kind == "float" and not tensor.refusal

    def _check_dtype(self, tensor: TensorInfo) -> None:
        kind, name = tensor.dtype.kind, tensor.dtype.name
        if tensor.refusal:
            raise _in_tensor(
                tensor,
                TensorError(
                    "special-tensor",
                    f"expected an ordinary tensor, but {tensor.refusal}",
                    "leave it out with --exclude: it is then copied",
                ),
            )
        if kind == "opaque":
            raise _in_tensor(
                tensor,
                TensorError(
                    "dtype-without-zero",
                    f"expected a dtype that dropout can write, got {name}",
                    "leave it out with --exclude: it is then copied",
                ),
            )
        if kind in ("integer", "bool") and self.rescale:
            raise _in_tensor(
                tensor,
                TensorError(
                    "integer-rescale",
                    f"expected a floating dtype to scale by 1/(1-p), got {name}",
                    "add --no-rescale to drop integers and bools, or leave it out with --exclude",
                ),
            )


@dataclass(frozen=True)
class TensorDropout:
    """The plan for one tensor: its mask and its arithmetic."""

    tensor: TensorInfo
    mask: Mask
    kernel: Kernel


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


def _in_tensor(tensor: TensorInfo, error: TensorError) -> TensorError:
    return TensorError(error.code, f"tensor '{tensor.name}': {error.message}", error.hint)
