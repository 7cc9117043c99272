"""Decisions: which words mean "drop".

A decision is "drop" exactly when its word is below a threshold, which depends only on p.
"""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropcli.dropout import Keep
from dropcli.masks.keystream import Keystream
from dropcli.masks.probability import SampleProbabilities
from dropcli.tensors import Indices

Limits = NDArray[np.unsignedinteger[Any]]


class Decisions(Protocol):
    """The decisions of one tensor by index; True means keep."""

    def decide(self, start: int, out: Keep) -> None:
        """Write the decisions that begin at `start` to `out`, shape (n,)."""

    def decide_at(self, cells: Indices) -> Keep:
        """The decisions at these indices, in any order, shape (n,)."""


def threshold(p: ArrayLike) -> Limits:
    """The number of 32-bit words, of all 2**32, that mean "drop"; the shape of p."""
    limits = np.floor(np.multiply(p, 2.0**32) + 0.5).astype(np.uint64)
    # Comparing with uint32 is faster, but 2**32 does not fit.
    return limits.astype(np.uint32) if limits.max(initial=0) < 2**32 else limits


@lru_cache(maxsize=64)
def _limit(p: float) -> Limits:
    return threshold(p)


class Bernoulli:
    """One word for each decision and one p for all, as in the contract."""

    def __init__(self, key: bytes, p: float) -> None:
        self._keystream = Keystream(key)
        self._limit = _limit(p)

    def decide(self, start: int, out: Keep) -> None:
        for first, words in self._keystream.chunks(start, len(out)):
            part = out[first : first + len(words)]
            np.greater_equal(words, self._limits(start + first, len(words)), out=part)

    def words(self, start: int, count: int) -> tuple[NDArray[np.uint32], int] | None:
        """Words, and the largest word that drops; None if none drops, or if samples differ in p."""
        last = int(self._limit) - 1
        return None if last < 0 else (self._keystream.block(start, count), last)

    def decide_at(self, cells: Indices) -> Keep:
        kept: Keep = self._keystream.at(cells) >= self._limits_at(cells)
        return kept

    def _limits(self, start: int, count: int) -> Limits:
        return self._limit

    def _limits_at(self, cells: Indices) -> Limits:
        return self._limit


class BernoulliPerSample(Bernoulli):
    """One word for each decision, and one p for each sample, which has `each` decisions."""

    def __init__(self, key: bytes, probabilities: SampleProbabilities, each: int) -> None:
        super().__init__(key, 0)
        self._probabilities = probabilities
        self._each = each

    def words(self, start: int, count: int) -> None:
        return None

    def _limits(self, start: int, count: int) -> Limits:
        p, share = self._probabilities.run(start, count, self._each)
        return share(threshold(p))

    def _limits_at(self, cells: Indices) -> Limits:
        p, share = self._probabilities.of(cells, self._each)
        return share(threshold(p))
