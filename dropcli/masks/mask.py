"""The mask of a tensor: which elements each decision of a grid covers.

A grid has a cell for each decision, numbered in row-major order for any strides of the tensor. The
mask of any range of elements can be computed alone.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Axis, Keep
from dropcli.masks.decisions import Bernoulli, Decisions
from dropcli.masks.keystream import CHUNK
from dropcli.masks.probability import Probability
from dropcli.tensors import Indices


class Mask:
    """The decisions of one tensor, at any range of its row-major element indices.

    `p` is the probability, `decisions` the number of decisions, and `per_element` says whether
    decision i belongs to element i alone.
    """

    def __init__(self, decisions: Decisions, axes: tuple[Axis, ...], p: Probability) -> None:
        self.p = p
        self._decisions = decisions
        grid = _grid(axes)
        self._grid, self._inner, self._below = grid.axes, grid.inner, grid.below
        self.decisions = grid.cells
        self.per_element = grid.per_element

    def count_dropped(self) -> int:
        """The number of all decisions that are "drop"."""
        keep = np.empty(min(self.decisions, CHUNK), np.bool_)
        dropped = 0
        for start in range(0, self.decisions, CHUNK):
            part = keep[: self.decisions - start]
            self._decisions.decide(start, part)
            dropped += len(part) - int(np.count_nonzero(part))
        return dropped

    def keep(self, start: int, out: Keep) -> None:
        """Whether each of the elements from `start` on is kept, written to `out`, shape (n,)."""
        if self.per_element:
            self._decisions.decide(start, out)
        else:
            self._expand(0, 0, start, out)

    def words(self, start: int, count: int) -> tuple[NDArray[np.uint32], int] | None:
        """The words of elements from `start`, and the largest that drops, if they decide."""
        if self.per_element and isinstance(self._decisions, Bernoulli):
            return self._decisions.words(start, count)
        return None

    def kept(self, start: int, count: int) -> Keep:
        """Whether each of `count` elements from `start` on is kept, shape (count,)."""
        out = np.empty(count, np.bool_)
        self.keep(start, out)
        return out

    def keep_at(self, elements: Indices) -> Keep:
        """Whether each of these elements is kept, in any order, shape (n,)."""
        return self._decisions.decide_at(self._cells(elements))

    def _cells(self, elements: Indices) -> Indices:
        """The decision of each element."""
        if self.per_element:
            return elements
        cells = np.zeros_like(elements)
        for axis, inner, below in zip(self._grid, self._inner, self._below, strict=True):
            index, elements = np.divmod(elements, inner)
            cells += index // axis.block * below
        return cells

    def _expand(self, level: int, cell: int, start: int, out: Keep) -> None:
        """Expand elements from `start` on of the box of axes from `level` on.

        The cells of the box begin at `cell`. A range of elements is a partial row, whole rows, and
        a partial row. The partial rows are ranges of the box one axis further in.
        """
        axis, inner, below = self._grid[level], self._inner[level], self._below[level]
        row, offset = divmod(start, inner)

        if offset or len(out) < inner:
            count = min(inner - offset, len(out))
            self._expand(level + 1, cell + row // axis.block * below, offset, out[:count])
            row, out = row + 1, out[count:]

        rows = len(out) // inner
        if rows:
            self._expand_rows(level, cell, row, out[: rows * inner].reshape(rows, inner))
            row, out = row + rows, out[rows * inner :]

        if len(out):
            self._expand(level + 1, cell + row // axis.block * below, 0, out)

    def _expand_rows(self, level: int, cell: int, row: int, out: Keep) -> None:
        """Expand whole rows of that box from `row` on into `out`, shape (rows, row elements)."""
        axis, below = self._grid[level], self._below[level]
        first, last = row // axis.block, (row + len(out) - 1) // axis.block
        cells = np.empty((last + 1 - first) * below, np.bool_)
        self._decisions.decide(cell + first * below, cells)

        inner_axes = self._grid[level + 1 :]
        keep = cells.reshape(last + 1 - first, *(axis.cells for axis in inner_axes))
        for number, inner_axis in enumerate(inner_axes, 1):
            if inner_axis.block > 1:
                keep = np.repeat(keep, min(inner_axis.block, inner_axis.size), axis=number)
                keep = keep[(slice(None),) * number + (slice(inner_axis.size),)]
        keep = keep.reshape(len(keep), -1)

        if axis.block == 1:
            out[:] = keep
        else:
            np.take(
                keep,
                np.arange(row, row + len(out)) // axis.block - first,
                axis=0,
                out=out,
                mode="clip",
            )


class _Grid(NamedTuple):
    """The merged axes, and how many elements and cells one index of each covers."""

    axes: list[Axis]
    inner: list[int]
    below: list[int]
    cells: int
    per_element: bool


@lru_cache(maxsize=64)  # samples of the same shape, one after the other
def _grid(axes: tuple[Axis, ...]) -> _Grid:
    grid = _merged(axes)
    after = [grid[level + 1 :] for level in range(len(grid))]
    return _Grid(
        grid,
        [prod(axis.size for axis in inner) for inner in after],
        [prod(axis.cells for axis in inner) for inner in after],
        prod(axis.cells for axis in grid),
        all(axis.block == 1 and axis.cells == axis.size for axis in grid),
    )


def _merged(axes: Iterable[Axis]) -> list[Axis]:
    """The axes, with adjacent ones joined where row-major order allows it.

    Only a few are left for any number of dimensions.
    """
    grid = [Axis(1, 1, 1)]
    for axis in axes:
        before = grid[-1]
        size = before.size * axis.size
        if before.cells == before.size and axis.cells == axis.size:
            grid[-1] = Axis(size, 1, size)
        elif before.cells == 1 == axis.cells:
            grid[-1] = Axis(size, size, 1)
        else:
            grid.append(axis)
    return grid
