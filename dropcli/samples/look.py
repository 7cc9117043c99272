"""Samples and histograms of the dropped tensors of a file."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Dropout, select
from dropcli.errors import located
from dropcli.files import place_of
from dropcli.formats import open_source
from dropcli.samples.excerpt import Elements, Excerpt
from dropcli.samples.frame import Frame, frame_of, is_images, strided
from dropcli.tensors import TensorInfo

Floats = NDArray[np.float64]

BINS = 32
_SAMPLES = 8
_PIXELS = 128  # at most, along each side of an image, and columns of a table


@dataclass(frozen=True)
class Spread:
    """A histogram; zeros, NaN and infinities are counted separately."""

    counts: tuple[int, ...]
    zeros: int
    nan: int
    inf: int


@dataclass(frozen=True, repr=False)
class Look:
    """Samples of one tensor, before and after dropout.

    Attributes:
        name, dtype, shape: those of the tensor.
        is_image: whether the tensor looks like images; otherwise `before` holds rows of a table.
        samples: the numbers of the samples, or of the rows.
        step: the distance of shown pixels, vertically and horizontally; 1 if all are shown.
        before: the samples, shape (samples, height, width, channels), in the tensor's dtype.
        after: the same for each copy, as `apply` writes it.
        keep: for each copy, True where elements are kept.
        sampled, values: the number of elements sampled evenly from the whole tensor, and their
            values as float64: before, and after for each copy.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_image: bool
    samples: tuple[int, ...]
    step: tuple[int, int]
    size: tuple[int, int]
    before: NDArray[Any]
    after: tuple[NDArray[Any], ...]
    keep: tuple[NDArray[np.bool_], ...]
    sampled: int
    values: tuple[Floats, ...]

    def __repr__(self) -> str:
        what = "images" if self.is_image else "rows"
        return f"<look at {self.name!r}: {self.dtype}, {self.shape}, {what} {self.samples}>"

    @cached_property
    def range(self) -> tuple[float, float]:
        """The lowest and highest finite value shown, before or after; the range includes 0."""
        return _ends(real(each) for each in (self.before, *self.after))

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """The ends of the histograms."""
        return _ends(self.values)

    @cached_property
    def spreads(self) -> list[Spread]:
        """Histograms over the whole tensor: before, and after for each copy."""
        return [_spread_of(values, *self.value_range) for values in self.values]


def look(
    path: str,
    dropout: Dropout,
    stream: str,
    copies: Sequence[int],
    most: int | None = None,
    *,
    only_images: bool = False,
) -> list[Look]:
    """Return the samples of at most `most` dropped tensors; `copies` are numbers of copies.

    Raises:
        DropcliError: the file cannot be read, or the settings do not fit it.
    """
    with located(place_of(path)), closing(open_source(path)) as source:
        excerpt = Excerpt(source, select(dropout, source.tensors), dropout, stream, copies)
        shown = [each for each in excerpt.tensors if not only_images or is_images(each.shape)]
        return [_look(excerpt, tensor) for tensor in shown[:most]]


def _look(excerpt: Excerpt, tensor: TensorInfo) -> Look:
    frame = frame_of(tensor.shape, _SAMPLES, _PIXELS)
    if frame.is_image:
        frame = _of_few_bytes(tensor, frame)
    shown = excerpt.elements(tensor, frame.indices)
    spread = excerpt.elements(tensor, strided(tensor.elements))
    return Look(
        tensor.name,
        tensor.dtype.name,
        tensor.shape,
        frame.is_image,
        frame.samples,
        frame.step,
        frame.size,
        shown.before,
        tuple(shown.after),
        tuple(shown.keep),
        spread.before.size,
        tuple(real(values) for values in _all(spread)),
    )


def _of_few_bytes(tensor: TensorInfo, frame: Frame) -> Frame:
    """The frame, with fewer samples if pixels are so far apart that each is read alone."""
    return frame if frame.step[1] < 256 else frame_of(tensor.shape, 2, _PIXELS // 2)


def _all(elements: Elements) -> list[NDArray[Any]]:
    return [elements.before, *elements.after]


def real(values: NDArray[Any]) -> Floats:
    """Values as float64; the magnitudes of complex values."""
    with np.errstate(all="ignore"):
        return (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)


def _ends(arrays: Any) -> tuple[float, float]:
    low, high = 0.0, 0.0
    for values in arrays:
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low < high else (0.0, 1.0)


def level(values: Floats, low: float, high: float) -> Floats:
    """The positions of values in the range, from 0 to 1; NaN stays NaN."""
    with np.errstate(all="ignore"):
        # Halved, because the difference of the largest numbers overflows.
        found: Floats = np.clip((values / 2 - low / 2) / (high / 2 - low / 2), 0, 1)
    return found


def _spread_of(values: Floats, low: float, high: float) -> Spread:
    finite = values[np.isfinite(values)]
    nan = int(np.isnan(values).sum())
    others = finite[finite != 0]
    bins = np.minimum((level(others, low, high) * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    zeros, inf = len(finite) - len(others), values.size - len(finite) - nan
    return Spread(tuple(counts.tolist()), zeros, nan, inf)
