"""Probabilities: one for all decisions, or one drawn for each file or sample.

`-p LOW:HIGH` draws p = LOW + (HIGH - LOW) * word / 2**32 in float64, from words of another
key (`keystream.p_key`), so that p and the mask are independent.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Array, Range, Share
from dropcli.masks.keystream import CHUNK, Keystream
from dropcli.masks.rate import RateSummary
from dropcli.tensors import Indices


def draw(bounds: Range, words: NDArray[np.uint32]) -> Array:
    """The probability for each word, shape (n,)."""
    return bounds.low + (bounds.high - bounds.low) * words.astype(np.float64) / 2**32


class SampleProbabilities:
    """A probability for each index of dimension 0 of one tensor."""

    def __init__(self, bounds: Range, key: bytes, samples: int) -> None:
        self._bounds = bounds
        self._keystream = Keystream(key)
        self.samples = samples

    def run(self, start: int, count: int, each: int) -> tuple[Array, Share]:
        """The p of the samples in a run of items, shape (k,), where a sample has `each` items.

        The function repeats a number per sample, shape (k,), for its items, shape (count,).
        """
        first, last = start // each, (start + count - 1) // each + 1
        counts = np.full(last - first, each)
        counts[-1] -= last * each - (start + count)
        counts[0] -= start - first * each
        return self._read(first, last), lambda numbers: np.repeat(numbers, counts)

    def of(self, items: Indices, each: int) -> tuple[Array, Share]:
        """The same for items in any order."""
        samples, places = np.unique(items // each, return_inverse=True)
        return draw(self._bounds, self._keystream.at(samples)), lambda numbers: numbers[places]

    def summary(self) -> RateSummary | None:
        """The summary of all samples; None if there are none."""
        if not self.samples:
            return None
        sums, squares, low, high = [], [], 1.0, 0.0
        for first in range(0, self.samples, CHUNK):
            part = self._read(first, min(first + CHUNK, self.samples))
            sums.append(float(part.sum()))
            squares.append(float((part * (1 - part)).sum()))
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        mean, variance = math.fsum(sums) / self.samples, math.fsum(squares) / self.samples
        return RateSummary(mean, low, high, variance)

    def _read(self, first: int, last: int) -> Array:
        return draw(self._bounds, self._keystream.read(first, last - first))


Probability = float | SampleProbabilities
