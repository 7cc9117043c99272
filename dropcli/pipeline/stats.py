"""Statistics of a tensor: exact counts and float64 moments, mergeable.

Moments are taken over fixed blocks of elements and merged in order, so a summary does not depend
on how many workers computed it. The merge is the pairwise update of Chan, Golub and LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 18  # elements: numpy calls this long rarely keep threads waiting for each other

Rows = NDArray[np.float64]
_Number = TypeVar("_Number", float, Rows)

_RUN = 1 << 13  # elements that BLAS adds up in one thread, so alike however many there are
_SOUND = 1e-3  # the share of a sum of squares that may cancel without harm
_SHRINK = 2.0**-20  # keeps the sum of a block of the largest numbers finite


@dataclass(slots=True)
class Summary:
    """What is known of a run of values. `count` is the finite ones, which alone make the rest."""

    zeros: int = 0
    nan: int = 0
    inf: int = 0
    count: int = 0
    mean: float = 0.0
    rest: float = 0.0  # what the mean had to round off, or distant means would not merge exactly
    squares: float = 0.0  # sum of squared deviations from the mean
    low: float | int = math.inf
    high: float | int = -math.inf

    def merge(self, other: "Summary") -> None:
        """Take in the values that follow."""
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
        """The numbers for people and for JSON; null where there are no finite values.

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


def summarize(values: NDArray[Any]) -> list[Summary]:
    """Summaries of consecutive blocks of `values`, shape (n,), real numbers of any numpy type."""
    whole = len(values) // BLOCK * BLOCK
    blocks = values[:whole].reshape(-1, BLOCK)
    summaries = _summarize_rows(blocks)
    if whole < len(values):
        summaries += _summarize_rows(values[whole:].reshape(1, -1))
    return summaries


def is_finite(values: NDArray[Any]) -> bool:
    """Whether there is no NaN and no infinity among them."""
    # NaN wins in minimum and maximum, so these two tell; they are faster than a look at each.
    return not len(values) or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _summarize_rows(rows: NDArray[Any]) -> list[Summary]:
    if not len(rows):
        return []
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not (is_finite(low) and is_finite(high)):
        return [_summarize_with_gaps(row) for row in rows]

    zeros = [int(np.count_nonzero(row)) for row in rows == 0]
    moments = _moments(rows.astype(np.float64))
    columns = zip(zeros, *(numbers.tolist() for numbers in (*moments, low, high)), strict=True)
    return [Summary(zero, 0, 0, rows.shape[1], *numbers) for zero, *numbers in columns]


def _moments(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """The mean in two parts, and the sum of squared deviations from it, of each row.

    `rows` is used up.
    """
    count = rows.shape[1]
    means = np.einsum("ij->i", rows) / count  # faster than `sum`
    sums = _sums_of_squares(rows)
    squares = sums - count * means * means
    if (squares >= _SOUND * sums).all():
        return means, np.zeros_like(means), squares

    # The difference of two sums has lost its digits, or the sums overflowed. Deviations from a
    # rough mean correct both (Chan, Golub and LeVeque, "Algorithms for Computing the Sample
    # Variance", 1983, equation 1.7); those from a value of the row itself are small, and exact
    # where all values are the same.
    values = rows[:, 0].copy()
    rows -= values[:, None]
    means = np.einsum("ij->i", rows * _SHRINK) / count / _SHRINK
    rows -= means[:, None]
    errors = np.einsum("ij->i", rows) / count
    squares = _sums_of_squares(rows) - count * errors * errors
    return *_two_parts(values, means + errors), squares


def _sums_of_squares(rows: Rows) -> Rows:
    whole = rows.shape[1] // _RUN * _RUN
    runs, rest = rows[:, :whole].reshape(len(rows), -1, _RUN), rows[:, whole:]
    sums: Rows = np.vecdot(runs, runs).sum(axis=1) + np.vecdot(rest, rest)
    return sums


def _two_parts(large: _Number, small: _Number) -> tuple[_Number, _Number]:
    """A sum, and what rounding it left out (Knuth's TwoSum)."""
    total = large + small
    part = total - large
    return total, (large - (total - part)) + (small - part)


def _summarize_with_gaps(row: NDArray[Any]) -> Summary:
    nan = int(np.count_nonzero(np.isnan(row)))
    finite = row[np.isfinite(row)]
    inf = len(row) - len(finite) - nan
    if not len(finite):
        return Summary(nan=nan, inf=inf)
    (summary,) = _summarize_rows(finite.reshape(1, -1))
    summary.nan, summary.inf = nan, inf
    return summary


def _finite(value: float) -> float | None:
    """A moment may overflow where the values did not; JSON has no word for that."""
    return value + 0.0 if math.isfinite(value) else None
