"""Decisions counted in groups: `--exact` and `--min-keep`.

A group is a run of decisions along one dimension of the grid. Its decisions are sorted by their
words, ties by index, and the first ones drop. With `--exact`, round(p * n) of n drop (Python's
round, halves to even); otherwise as many as have words below the threshold. `--min-keep K` lowers
that number to at most n - K.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Array, Keep
from dropcli.masks.decisions import threshold
from dropcli.masks.keystream import Keystream
from dropcli.masks.probability import Probability, SampleProbabilities
from dropcli.tensors import Indices

Words = NDArray[np.uint32]
Ranks = NDArray[np.uint64]  # the word in the upper half, the index in the group in the lower half

MAX_GROUP = 1 << 23  # decisions, sorted in memory
_BLOCK = 1 << 16  # decisions of adjacent groups that are sorted together
_REMEMBERED = 1 << 18  # groups
_ALL = np.uint64(2**64 - 1)


class Axes(NamedTuple):
    """The grid as `outer` times `size` times `inner`; a group runs along the middle axis."""

    outer: int
    size: int
    inner: int

    def group(self, cells: Indices) -> tuple[Indices, Indices]:
        """The group of each cell, and its index in the group."""
        row, last = np.divmod(cells, self.inner)
        outer, index = np.divmod(row, self.size)
        return outer * self.inner + last, index

    def cells(self, groups: Indices) -> Indices:
        """The cells of these groups, shape (groups, size)."""
        outer, last = np.divmod(groups[:, None], self.inner)
        return (outer * self.size + np.arange(self.size)) * self.inner + last


class ExactPerGroup:
    """The decisions of a tensor, with a fixed number of drops in each group."""

    def __init__(
        self, key: bytes, p: Probability, axes: Axes, *, exact: bool, min_keep: int
    ) -> None:
        self._keystream = Keystream(key)
        self._p = p
        self._axes = axes
        self._exact = exact
        self._most = max(0, axes.size - min_keep)  # decisions of a group that may drop
        self._block = max(1, _BLOCK // max(1, axes.size))  # groups
        remembered = max(8, _REMEMBERED // self._block)
        self._limits = lru_cache(remembered)(self._find_limits)

    def decide(self, start: int, out: Keep) -> None:
        for first, words in self._keystream.chunks(start, len(out)):
            part = out[first : first + len(words)]
            if self._axes.inner == 1:
                part[:] = self._kept_run(start + first, words)
            else:
                cells = np.arange(start + first, start + first + len(words))
                part[:] = self._kept(cells, words)

    def decide_at(self, cells: Indices) -> Keep:
        return self._kept(cells, self._keystream.at(cells))

    def _kept(self, cells: Indices, words: Words) -> Keep:
        group, index = self._axes.group(cells)
        blocks, place = np.unique(group // self._block, return_inverse=True)
        limits = np.concatenate([self._limits(block) for block in blocks.tolist()])
        kept: Keep = _ranks(words, index) >= limits[place * self._block + group % self._block]
        return kept

    def _kept_run(self, start: int, words: Words) -> Keep:
        """The same for a run of decisions if groups are runs too; this is faster."""
        size, stop = self._axes.size, start + len(words)
        first, last = start // size, (stop - 1) // size + 1
        blocks = range(first // self._block, (last - 1) // self._block + 1)
        limits = np.concatenate([self._limits(block) for block in blocks])
        limits = limits[first - blocks[0] * self._block :][: last - first]
        counts = np.full(last - first, size)
        counts[-1] -= last * size - stop
        counts[0] -= start - first * size

        word = np.repeat((limits >> np.uint64(32)).astype(np.uint32), counts)
        kept: Keep = words >= word
        ties = np.flatnonzero(words == word)  # at least the first one kept
        groups, indices = np.divmod(ties + start, size)
        kept[ties] = _ranks(words[ties], indices) >= limits[groups - first]
        return kept

    def _find_limits(self, block: int) -> Ranks:
        """The rank of the first kept decision of each group in a block."""
        axes, first = self._axes, block * self._block
        groups = np.arange(first, min(first + self._block, axes.outer * axes.inner))
        if axes.inner == 1:
            words = self._keystream.read(first * axes.size, len(groups) * axes.size)
        else:
            words = self._keystream.at(axes.cells(groups).reshape(-1))
        words = words.reshape(len(groups), axes.size)

        dropped = self._to_drop(words, self._probabilities(groups))
        last = np.minimum(dropped, axes.size - 1)[:, None]
        word = np.take_along_axis(np.sort(words, axis=1), last, axis=1)  # faster than sorting ranks
        rest = last[:, 0] - np.count_nonzero(words < word, axis=1)
        rows, indices = np.nonzero(words == word)
        index = indices[np.searchsorted(rows, np.arange(len(words))) + rest]
        return np.where(dropped < axes.size, _ranks(word[:, 0], index), _ALL)

    def _to_drop(self, words: Words, p: Array) -> Indices:
        """The number of decisions that drop in each group, which is a row of `words`."""
        if self._exact:
            dropped = np.rint(p * self._axes.size).astype(np.int64)
        else:
            dropped = np.count_nonzero(words < threshold(p)[:, None], axis=1)
        return np.minimum(dropped, self._most)

    def _probabilities(self, groups: Indices) -> Array:
        """The p of each group."""
        if not isinstance(self._p, SampleProbabilities):
            return np.full(len(groups), self._p)
        p, share = self._p.of(groups, self._axes.outer * self._axes.inner // self._p.samples)
        return share(p)


def _ranks(words: Words, indices: Indices) -> Ranks:
    ranks: Ranks = words.astype(np.uint64) << np.uint64(32) | indices.astype(np.uint64)
    return ranks
