"""Histograms of sampled values, before and after dropout on one axis."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.pipeline import SAMPLE, SAMPLE_OF_ALL, Sample
from dropcli.report.text import counted

BINS = 48
_TAILS = (0.005, 0.995)  # values outside these quantiles may be outliers
_FAR = 4  # an axis this many times as wide as the range between the quantiles has outliers

NO_ZEROS = (
    "Zeros are not in the bars, since they would be far taller than all others; their share is "
    "given below."
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """How many sampled values are in each of `BINS` bins from `low` to `high`.

    Zeros, NaN and infinities are not counted: the bar of zeros would be far taller than all others.
    `beyond` counts the values before and after that are outside the axis.
    """

    name: str
    low: float
    high: float
    before: list[int]
    after: list[int]
    sampled: int
    zeros: tuple[float, float]  # fractions of the sample, before and after
    beyond: int = 0

    @classmethod
    def of(cls, name: str, sample: Sample) -> "Histogram | None":
        """The histogram of a sample; None if the sample is empty."""
        if not sample.size:
            return None
        sides = [_joined(sample.before), _joined(sample.after)]
        zeros = [float(np.count_nonzero(side == 0)) / len(side) for side in sides]
        shown = [side[np.isfinite(side) & (side != 0)] for side in sides]
        low, high = _axis(np.concatenate(shown))
        before, after = (_counts(side, low, high) for side in shown)
        beyond = sum(map(len, shown)) - sum(before) - sum(after)
        return cls(name, low, high, before, after, sample.size, (zeros[0], zeros[1]), beyond)


def _joined(parts: list[NDArray[Any]]) -> Floats:
    with np.errstate(all="ignore"):  # large integers and long doubles may overflow
        return np.concatenate([part.astype(np.float64) for part in parts])


def _axis(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = np.quantile(values, _TAILS, method="nearest").tolist()
    if inner_low < inner_high and high / _FAR - low / _FAR > inner_high - inner_low:
        return inner_low, inner_high
    return low, high


def _counts(values: Floats, low: float, high: float) -> list[int]:
    values = values[(values >= low) & (values <= high)]
    width = high / BINS - low / BINS  # divided first, because the difference may overflow
    if width > 0:
        bins = np.minimum((values / width - low / width).astype(np.int64), BINS - 1)
    else:  # all values are equal
        bins = np.full(len(values), BINS // 2)
    counts: list[int] = np.bincount(np.maximum(bins, 0), minlength=BINS).tolist()
    return counts


def sampling_note(histograms: list[Histogram], documents: list[dict[str, Any]]) -> str:
    """How the histograms were made."""
    names = {t["name"] for file in documents for t in file["tensors"] if t["action"] == "dropped"}
    few = len(names) > len(histograms)
    which = f" of the first {len(histograms):,} of {counted(len(names), 'tensor')}" if few else ""
    most = SAMPLE if len(documents) == 1 else SAMPLE_OF_ALL
    return (
        f"From an evenly strided sample{which}, at most {most:,} elements of each, taken in the "
        f"same pass. {NO_ZEROS}"
    )
