"""What one decision covers: `--over DIMS`, and the named modes."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import index
from typing import Any, NamedTuple

from dropcli.errors import TensorError, UsageError

_PATTERN = re.compile(r"-?[0-9]+(:[0-9]+)?(,-?[0-9]+(:[0-9]+)?)*")
_MODES = {"channel": "0,1", "pixel": "0,2,3", "sample": "0", "feature": "-1"}
MODES = ("element", *_MODES, "patch:S")

# The `--over` for shapes that a mode does not fit; {0} is the size of a patch.
_CHANNEL_HINT = "`--over 0` for one image (C, H, W), `--over 0,1` for a batch (N, C, L)"
_IMAGE_HINTS = {
    "pixel": "`--over 0,1` for one image (H, W), `--over 1,2` for one image (C, H, W), "
    "`--over 0,1,2` for a batch (N, H, W)",
    "patch": "`--over 0:{0},1:{0}` for one image (H, W), `--over 1:{0},2:{0}` for one image "
    "(C, H, W), `--over 0,1:{0},2:{0}` for a batch (N, H, W)",
}
_CHANNELS_LAST = {"channel": "0,3", "pixel": "0,1,2", "patch": "0,1:{0},2:{0}"}


class Axis(NamedTuple):
    """A dimension: its size, the number of indices that share a decision, and of decisions."""

    size: int
    block: int
    cells: int


@dataclass(frozen=True)
class Over:
    """The dimensions along which decisions differ, each with its block size.

    `mode` is the mode that was given instead; it is an error for shapes that it does not fit.
    """

    blocks: tuple[tuple[int, int], ...]
    mode: str | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str, mode: str | None = None) -> "Over":
        """From text such as `0,2:8,3:8`; negative dimensions count from the end."""
        if not _PATTERN.fullmatch(text) or len(text) > 1000:
            raise _wrong(text, "is not a list of dimensions, such as 0,1 or 0,2:8,3:8")
        blocks = []
        for item in text.split(","):
            dimension, _, size = item.partition(":")
            blocks.append((int(dimension), int(size or 1)))
            if size and int(size) < 1:
                raise _wrong(text, "has a block of size 0")
        if len({dimension for dimension, _ in blocks}) < len(blocks):
            raise _wrong(text, "names a dimension twice")
        return cls(tuple(blocks), mode)

    @classmethod
    def of_mode(cls, text: str) -> "Over | None":
        """The dimensions of a `--mode`; None for one decision per element."""
        if text == "element":
            return None
        if text in _MODES:
            return cls.parse(_MODES[text], text)
        if re.fullmatch(r"patch:0*[1-9][0-9]{0,8}", text):
            size = int(text.removeprefix("patch:"))
            return cls.parse(f"0,2:{size},3:{size}", f"patch:{size}")
        near = difflib.get_close_matches(text, ("element", *_MODES), 1)
        hint = f"did you mean {near[0]}?" if near else None
        if text.startswith("patch"):
            hint = "a patch needs a size, as in patch:8"
        raise UsageError(
            "bad-mode",
            f"--mode: '{text}' is not one of {', '.join(MODES)}",
            hint or "for other dimensions use --over",
        )

    @classmethod
    def of(cls, value: Any) -> "Over | None":
        """From a Python value: None, `"0,2:8"`, 0, (0, 1) or the name of a mode."""
        if value is None or isinstance(value, Over):
            return value
        if isinstance(value, str):
            return cls.of_mode(value) if value[:1].isalpha() else cls.parse(value)
        dimensions = value if isinstance(value, Sequence) else [value]
        try:
            if any(isinstance(dimension, bool) for dimension in dimensions):
                raise TypeError
            return cls.parse(",".join(str(index(dimension)) for dimension in dimensions))
        except TypeError:
            raise UsageError(
                "bad-over", f"over: {value!r} is neither dimensions nor text such as '0,2:8'"
            ) from None

    def __str__(self) -> str:
        return ",".join(f"{dim}:{size}" if size > 1 else f"{dim}" for dim, size in self.blocks)

    @property
    def _mode_and_size(self) -> tuple[str, str]:
        mode, _, size = (self.mode or "").partition(":")
        return mode, size

    def resolve(self, shape: tuple[int, ...]) -> dict[int, int]:
        """Return the block size by dimension for this shape.

        Raises TensorError if it does not fit.
        """
        self._check_mode(shape)
        resolved: dict[int, int] = {}
        for dim, size in self.blocks:
            if not -len(shape) <= dim < len(shape):
                last = "-1 is the last dimension; or " if shape else ""
                raise TensorError(
                    "no-such-dimension",
                    f"--over {self}: the tensor has {_dimensions_text(len(shape))}",
                    f"{last}leave the tensor out with --exclude",
                )
            if dim % len(shape) in resolved:
                raise TensorError(
                    "same-dimension-twice",
                    f"--over {self}: {dim} and {dim % len(shape)} are the same dimension of "
                    f"shape {shape_text(shape)}",
                )
            resolved[dim % len(shape)] = size
        return resolved

    def _check_mode(self, shape: tuple[int, ...]) -> None:
        mode, size = self._mode_and_size
        given = shape_text(shape) if shape else "a scalar"
        if mode == "channel" and len(shape) < 4:
            raise TensorError(
                "ambiguous-channels",
                f"--mode channel needs 4 or more dimensions (N, C, ...), not {given}",
                f"say which dimensions are meant: {_CHANNEL_HINT}",
            )
        if mode in _IMAGE_HINTS and len(shape) != 4:
            raise TensorError(
                "ambiguous-mode",
                f"--mode {self.mode} needs 4 dimensions (N, C, H, W), not {given}",
                f"say which dimensions are meant: {_IMAGE_HINTS[mode].format(size)}",
            )

    def channels_last_hint(self, shape: tuple[int, ...]) -> str | None:
        """The `--over` that was probably meant if a mode is used on a shape like (N, H, W, C)."""
        mode, size = self._mode_and_size
        if mode not in _CHANNELS_LAST or len(shape) != 4:
            return None
        if shape[3] not in (1, 3, 4) or shape[3] >= min(shape[1:3]):
            return None
        return f"--over {_CHANNELS_LAST[mode].format(size)}"


def _wrong(text: str, what: str) -> UsageError:
    hint = "dimensions are numbers: 0 is the first, -1 the last"
    return UsageError("bad-over", f"--over: '{text}' {what}", hint if text.isalpha() else None)


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape in the form 2x3x4."""
    return "x".join(map(str, shape)) if shape else "scalar"


def _dimensions_text(count: int) -> str:
    names = {0: "no dimensions", 1: "1 dimension: 0", 2: "2 dimensions: 0 and 1"}
    return names.get(count, f"{count} dimensions: 0 to {count - 1}")


def grid_of(shape: tuple[int, ...], over: Over | None) -> tuple[Axis, ...]:
    """The decisions along each dimension. Raises TensorError if `over` does not fit the shape."""
    # A mode equals its --over, but fits fewer shapes.
    return _grid_of(shape, over, over.mode if over else None)


@lru_cache(maxsize=64)  # samples of the same shape, one after the other
def _grid_of(shape: tuple[int, ...], over: Over | None, _mode: str | None) -> tuple[Axis, ...]:
    if over is None:
        return tuple(Axis(size, 1, size) for size in shape)
    blocks = over.resolve(shape)
    return tuple(
        Axis(size, blocks[dimension], -(-size // blocks[dimension]))
        if dimension in blocks
        else Axis(size, size, 1)
        for dimension, size in enumerate(shape)
    )
