"""How a tensor's elements lie in a storage: strides, as torch has them.

A decision belongs to a logical index, row-major in the tensor's shape, while bytes come in the
order of the storage. A `Layout` numbers the elements by rank, their order in the storage, and
tells the position and the logical index of any range of ranks.
"""

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Layout:
    """Shape and strides, in elements; `overlapping` if two elements share a place."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        logical = [prod(shape[dimension + 1 :]) for dimension in range(len(shape))]
        axes = [axis for axis in zip(strides, shape, logical, strict=True) if axis[1] != 1]
        axes.sort(key=lambda axis: -axis[0])
        self._strides = [stride for stride, _, _ in axes]
        self._sizes = [size for _, size, _ in axes]
        self._logical = [step for _, _, step in axes]
        self.elements = prod(shape)

    @classmethod
    def row_major(cls, shape: tuple[int, ...]) -> "Layout":
        """Without gaps, the last dimension first."""
        return cls(shape, tuple(prod(shape[number + 1 :]) for number in range(len(shape))))

    @cached_property
    def span(self) -> int:
        """From the first element's place to just after the last one's."""
        return self._reach(0) + 1 if self.elements else 0

    @cached_property
    def overlapping(self) -> bool:
        """Whether ranks cannot be told from places, as with a stride of 0."""
        if not self.elements:
            return False
        return any(stride <= self._reach(number + 1) for number, stride in enumerate(self._strides))

    @cached_property
    def contiguous(self) -> bool:
        """Whether rank, place and logical index are all the same."""
        return not self.elements or self._strides == self._logical

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """The strides and sizes by which the elements lie, whatever dimensions make them up."""
        places: list[tuple[int, int]] = []
        for stride, size in zip(self._strides, self._sizes, strict=True):
            if places and places[-1][0] == stride * size:
                size *= places.pop()[1]
            places.append((stride, size))
        return tuple(places)

    def rank(self, position: int) -> int:
        """How many elements lie before a place."""
        if position <= 0:
            return 0
        rank, rest = 0, position
        for number, (stride, size) in enumerate(zip(self._strides, self._sizes, strict=True)):
            inner = prod(self._sizes[number + 1 :])
            index = rest // stride
            if index >= size:
                return rank + size * inner
            rank += index * inner
            rest -= index * stride
        return rank + (rest > 0)

    def locate(self, first: int, last: int) -> tuple[Indices, Indices]:
        """The places and the logical indices of the elements of these ranks."""
        rest = np.arange(first, last)
        positions, logical = np.zeros_like(rest), np.zeros_like(rest)
        for number, stride in enumerate(self._strides):
            index, rest = np.divmod(rest, prod(self._sizes[number + 1 :]))
            positions += index * stride
            logical += index * self._logical[number]
        return positions, logical

    def ranks(self, logical: Indices) -> Indices:
        """The ranks of the elements of these logical indices."""
        ranks = np.zeros_like(logical)
        for number, (size, step) in enumerate(zip(self._sizes, self._logical, strict=True)):
            ranks += logical // step % size * prod(self._sizes[number + 1 :])
        return ranks

    def logical_at(self, places: Indices) -> Indices:
        """The logical indices of the elements at these places, of a layout without overlaps."""
        rest, logical = places.copy(), np.zeros_like(places)
        for stride, step in zip(self._strides, self._logical, strict=True):
            index, rest = np.divmod(rest, stride)
            logical += index * step
        return logical

    def positions(self, first: int, last: int) -> Indices:
        """The places of the elements of these logical indices."""
        index = np.arange(first, last)
        positions = np.zeros_like(index)
        for stride, size, step in zip(self._strides, self._sizes, self._logical, strict=True):
            positions += index // step % size * stride
        return positions

    def _reach(self, number: int) -> int:
        """The farthest that the axes from `number` on go."""
        axes = zip(self._strides[number:], self._sizes[number:], strict=True)
        return sum(stride * (size - 1) for stride, size in axes)
