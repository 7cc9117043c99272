"""Statistics of a tensor: exact counts and float64 moments, mergeable.

Moments are taken over fixed blocks of elements and merged in order, so a summary does not depend
on how many workers computed it. The merge is the pairwise update of Chan, Golub and LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16  # elements: a block, its words and its statistics stay in a core's cache

SAMPLE = 1 << 16  # the maximum number of elements of a tensor that are sampled
SAMPLE_OF_ALL = 1 << 14  # the same for one name over all files of a dataset
MAX_SAMPLED = 24  # only the first tensors of a file that drop are sampled

_LANES = 64  # element i of a block is added in lane i mod 64, as in native/block.h
_SOUND = 1e-3  # the part of a sum of squares that must remain after cancellation
_EXACT = 2**53  # up to here float64 holds every integer
_SHRINK = 2.0**-20  # keeps the sum of a block of the largest numbers finite

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Summary:
    """Statistics of values; `count` and the fields below it are for finite values only."""

    zeros: int = 0
    nan: int = 0
    inf: int = 0
    count: int = 0
    mean: float = 0.0
    rest: float = 0.0  # the rounding error of the mean, so that means far apart merge exactly
    squares: float = 0.0  # sum of squared deviations from the mean
    low: float | int = math.inf
    high: float | int = -math.inf

    def merge(self, other: "Summary") -> None:
        """Add the statistics of the values that follow."""
        self.zeros += other.zeros
        self.nan += other.nan
        self.inf += other.inf
        if not self.count:
            self.mean, self.rest, self.squares = other.mean, other.rest, other.squares
            self.count, self.low, self.high = other.count, other.low, other.high
        elif other.count:
            count = self.count + other.count
            delta = (other.mean - self.mean) + (other.rest - self.rest)
            self.mean, self.rest = _two_parts(self.mean, self.rest + delta * (other.count / count))
            self.squares += other.squares + delta * delta * (self.count * other.count / count)
            self.count = count
            self.low = min(self.low, other.low)
            self.high = max(self.high, other.high)

    def document(self) -> dict[str, float | int | None]:
        """The numbers that are reported; None if there are no finite values.

        `std` is the population standard deviation.
        """
        known = self.count > 0
        return {
            "mean": _finite(self.mean + self.rest) if known else None,
            "std": _finite(math.sqrt(max(self.squares, 0.0) / self.count)) if known else None,
            "min": self.low + 0 if known else None,
            "max": self.high + 0 if known else None,
            "zeros": self.zeros,
            "nan": self.nan,
            "inf": self.inf,
        }


@dataclass(slots=True)
class Sample:
    """Every n-th element of a tensor in row-major order, before and after dropout.

    The shape alone decides which elements these are, so pieces may come in any order.
    """

    before: list[NDArray[Any]] = field(default_factory=list)
    after: list[NDArray[Any]] = field(default_factory=list)

    def merge(self, other: "Sample") -> None:
        """Add the elements of another sample."""
        self.before += other.before
        self.after += other.after

    @property
    def size(self) -> int:
        """The number of elements."""
        return sum(map(len, self.before))


def stride_of(elements: int, sample: int) -> int:
    """The stride with which at most `sample` elements are taken: a prime number.

    It has no factor in common with the sizes of dimensions, so all rows and columns are sampled.
    """
    stride = max(1, -(-elements // sample))
    while any(stride % divisor == 0 for divisor in range(2, math.isqrt(stride) + 1)):
        stride += 1
    return stride


def summarize(values: NDArray[Any]) -> list[Summary]:
    """Summaries of consecutive blocks of `values`, shape (n,), real numbers of any numpy type."""
    return [
        _summarize_block(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)
    ]


def is_finite(values: NDArray[Any]) -> bool:
    """Whether all values are finite."""
    # Minimum and maximum are NaN if a value is; this is faster than checking every value.
    return not len(values) or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _summarize_block(values: NDArray[Any]) -> Summary:
    if not is_finite(values):
        return _summarize_with_gaps(values)

    zeros = int(np.count_nonzero(values == 0))
    low, high = values.min().item(), values.max().item()
    if isinstance(low, int) and max(-low, high) > _EXACT:
        moments = _moments_above(low, values)
    else:
        moments = _moments(values.astype(np.float64))
    return Summary(zeros, 0, 0, len(values), *moments, low, high)


def _moments(values: Floats) -> tuple[float, float, float]:
    """The mean in two parts, and the sum of squared deviations from it.

    `values` is overwritten.
    """
    count = len(values)
    mean = _sum(values) / count
    total = _sum(values * values)
    squares = total - count * mean * mean
    if squares >= _SOUND * total:
        return mean, 0.0, squares

    # The difference of two sums has lost its digits, or the sums overflowed. Deviations from a
    # rough mean correct both (Chan, Golub and LeVeque, "Algorithms for Computing the Sample
    # Variance", 1983, equation 1.7); those from a value of the block itself are small, and exact
    # where all values are the same.
    first = float(values[0])
    values -= first
    mean = _sum(values * _SHRINK) / count / _SHRINK
    values -= mean
    error = _sum(values) / count
    squares = _sum(values * values) - count * error * error
    return *_two_parts(first, mean + error), squares


def _moments_above(low: int, values: NDArray[Any]) -> tuple[float, float, float]:
    """The moments of 64-bit integers that float64 does not hold: exact distances from `low`."""
    above = values.view(np.uint64) - np.uint64(low % 2**64)
    mean, rest, squares = _moments(above.astype(np.float64))
    large = float(low)
    return *_two_parts(large, (low - int(large)) + (mean + rest)), squares


def _sum(values: Floats) -> float:
    """Each lane in order, then the upper half of the lanes on the lower, down to one."""
    whole = len(values) // _LANES * _LANES
    lanes = values[:whole].reshape(-1, _LANES).sum(axis=0)
    rest = values[whole:]
    lanes[: len(rest)] += rest
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return float(lanes[0]) + 0.0


def _two_parts(large: float, small: float) -> tuple[float, float]:
    """A sum and its rounding error (Knuth's TwoSum)."""
    total = large + small
    part = total - large
    return total, (large - (total - part)) + (small - part)


def _summarize_with_gaps(values: NDArray[Any]) -> Summary:
    nan = int(np.count_nonzero(np.isnan(values)))
    finite = values[np.isfinite(values)]
    inf = len(values) - len(finite) - nan
    summary = _summarize_block(finite) if len(finite) else Summary()
    summary.nan, summary.inf = nan, inf
    return summary


def _finite(value: float) -> float | None:
    """None for a moment that overflowed, which JSON cannot express."""
    return value + 0.0 if math.isfinite(value) else None
