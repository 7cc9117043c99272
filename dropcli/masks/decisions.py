"""Decisions: which words mean "drop".

A decision is drop exactly when its word is below a threshold, which p alone sets.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Array, Keep
from dropcli.masks.keystream import Keystream
from dropcli.masks.probability import SampleProbabilities


class Decisions(Protocol):
    """The decisions of one tensor by their index."""

    def decide(self, start: int, out: Keep) -> None:
        """The decisions from `start` on, True for keep, written to `out`, shape (n,)."""

    def decide_at(self, cells: NDArray[np.int64]) -> Keep:
        """These decisions, in any order, shape (n,)."""


def threshold(p: float) -> int:
    """The number of 32-bit words, of all 2**32, that mean "drop"."""
    return math.floor(p * 2**32 + 0.5)


def thresholds(p: Array) -> NDArray[np.unsignedinteger[Any]]:
    """The same for an array."""
    return np.floor(p * 2**32 + 0.5).astype(np.uint64)


class Bernoulli:
    """Each decision by its own word, and one p for all: the contract."""

    def __init__(self, key: bytes, p: float) -> None:
        self._keystream = Keystream(key)
        self._threshold = threshold(p)

    def decide(self, start: int, out: Keep) -> None:
        """The decisions from `start` on, True for keep, written to `out`, shape (n,)."""
        if self._threshold == 2**32:
            out[:] = False  # a 32-bit word is always below it, and it does not fit one
            return
        limit = np.uint32(self._threshold)
        for first, words in self._keystream.chunks(start, len(out)):
            np.greater_equal(words, limit, out=out[first : first + len(words)])

    def decide_at(self, cells: NDArray[np.int64]) -> Keep:
        """These decisions, in any order, shape (n,)."""
        if self._threshold == 2**32:
            return np.zeros(len(cells), np.bool_)
        return self._keystream.at(cells) >= np.uint32(self._threshold)


class BernoulliPerSample:
    """Each decision by its own word, and a p for each sample; `each` decisions belong to one."""

    def __init__(self, key: bytes, probabilities: SampleProbabilities, each: int) -> None:
        self._keystream = Keystream(key)
        self._probabilities = probabilities
        self._each = each

    def decide(self, start: int, out: Keep) -> None:
        """The decisions from `start` on, True for keep, written to `out`, shape (n,)."""
        for first, words in self._keystream.chunks(start, len(out)):
            p, share = self._probabilities.run(start + first, len(words), self._each)
            limits = thresholds(p)
            if limits.max() < 2**32:  # else it does not fit a word
                limits = limits.astype(np.uint32)
            np.greater_equal(words, share(limits), out=out[first : first + len(words)])

    def decide_at(self, cells: NDArray[np.int64]) -> Keep:
        """These decisions, in any order, shape (n,)."""
        p, share = self._probabilities.of(cells, self._each)
        kept: Keep = self._keystream.at(cells) >= share(thresholds(p))
        return kept
