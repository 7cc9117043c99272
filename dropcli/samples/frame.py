"""Choose which elements of a tensor are shown: some samples of images, or some rows of a table."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from dropcli.tensors import Indices, row_major_strides

_CHANNELS = (1, 3, 4)
_LEAST = 2  # the smallest height and width of an image in pixels
_PLANE = 8  # the same, where no channels show that it is an image
_LONGEST = 4  # a plane that is longer than this many times its width is a table
_RUNS, _RUN = 64, 1024  # a histogram samples this many runs of this many elements


@dataclass(frozen=True)
class Frame:
    """The row-major indices of the shown elements, shape (samples, height, width, channels).

    `samples` are the numbers of the samples, or of the rows of a table. `step` is the distance of
    shown pixels, vertically and horizontally. `size` is the full height and width.
    """

    is_image: bool
    samples: tuple[int, ...]
    indices: Indices
    step: tuple[int, int]
    size: tuple[int, int]


def frame_of(shape: tuple[int, ...], samples: int, pixels: int) -> Frame:
    """Return the frame of a tensor: at most `samples` samples, and `pixels` along each side."""
    steps = row_major_strides(shape)
    axes = _image_axes(shape)
    if axes is None:
        return _table(shape, samples, pixels)
    first, y, x, channel = axes
    shown = _spread(1 if first is None else shape[first], samples)
    step = -(-shape[y] // pixels), -(-shape[x] // pixels)
    along = (first, shown), (y, _every(shape[y], step[0])), (x, _every(shape[x], step[1]))
    channels = (channel, _every(1 if channel is None else shape[channel], 1))
    parts = [numbers * (0 if axis is None else steps[axis]) for axis, numbers in (*along, channels)]
    indices: Indices = sum(np.ix_(*parts), start=np.zeros((1, 1, 1, 1), np.int64))
    return Frame(True, tuple(shown.tolist()), indices, step, (shape[y], shape[x]))


def is_images(shape: tuple[int, ...]) -> bool:
    """Whether a tensor looks like images."""
    return _image_axes(shape) is not None


def _every(size: int, step: int) -> Indices:
    return np.arange(0, size, step, dtype=np.int64)


def _image_axes(shape: tuple[int, ...]) -> tuple[int | None, int, int, int | None] | None:
    """The dimensions of samples, rows, columns and channels; None if these are not images."""
    if not prod(shape):
        return None
    if len(shape) == 4:
        _, a, b, c = shape
        if c in _CHANNELS and c < min(a, b):
            return 0, 1, 2, 3
        return (0, 2, 3, 1) if a in _CHANNELS and min(b, c) >= _LEAST else None
    if len(shape) == 3:
        if min(shape[1:]) >= _PLANE:
            return (None, 1, 2, 0) if shape[0] in _CHANNELS else (0, 1, 2, None)
        last = shape[2] in _CHANNELS and min(shape[:2]) >= _PLANE
        return (None, 0, 1, 2) if last else None
    is_plane = len(shape) == 2 and _PLANE <= min(shape) >= max(shape) / _LONGEST
    return (None, 0, 1, None) if is_plane else None


def _table(shape: tuple[int, ...], samples: int, pixels: int) -> Frame:
    """Rows along the last dimension, with the first columns of each."""
    columns = shape[-1] if shape else 1
    rows = prod(shape[:-1])
    shown = _spread(rows if columns else 0, samples)
    indices = shown[:, None] * columns + np.arange(min(columns, pixels))
    return Frame(False, tuple(shown.tolist()), indices[None, :, :, None], (1, 1), (rows, columns))


def _spread(count: int, most: int) -> Indices:
    """At most `most` numbers below `count`, evenly spaced."""
    shown = min(count, most)
    return np.arange(shown, dtype=np.int64) * count // max(1, shown)


def strided(elements: int) -> Indices:
    """Indices of short runs, evenly spaced over a tensor; all indices if the tensor is small."""
    if elements <= _RUNS * _RUN:
        return np.arange(elements, dtype=np.int64)
    starts = _spread(elements - _RUN, _RUNS)
    found: NDArray[np.int64] = (starts[:, None] + np.arange(_RUN)).reshape(-1)
    return found
