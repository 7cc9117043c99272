"""Masks as a pure function of a key and an index: the contract `dropcli/1`, frozen.

Decision i is "drop" exactly when word i of an AES-128-CTR keystream is below a threshold. A word
is addressed, never drawn in sequence, so any chunk can be computed alone, in any order, by any
worker, and a mask depends on nothing but its key: changing this file changes people's data.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

CONTRACT = "dropcli/1"

_WORDS_PER_COUNTER = 4  # an AES block is 16 bytes
_CHUNK = 1 << 18  # words at a time: long enough that threads rarely wait for each other
_ZEROS = memoryview(bytes(4 * _CHUNK))


def mask_key(seed: int, stream: bytes, tensor: str, copy: int) -> bytes:
    """The 16-byte AES key: SHA-256 over length-prefixed fields, so no two inputs collide."""
    fields = (CONTRACT.encode(), str(seed).encode(), stream, tensor.encode(), str(copy).encode())
    text = b"".join(len(field).to_bytes(8, "little") + field for field in fields)
    return hashlib.sha256(text).digest()[:16]


def threshold(p: float) -> int:
    """The number of 32-bit words, of all 2**32, that mean "drop"."""
    return math.floor(p * 2**32 + 0.5)


@dataclass(frozen=True)
class Axis:
    """A run of dimensions taken as one: its size, how many indices share a decision, the cells."""

    size: int
    block: int
    cells: int


def element_grid(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """One decision per element."""
    elements = prod(shape)
    return (Axis(elements, 1, elements),)


def block_grid(shape: tuple[int, ...], blocks: dict[int, int]) -> tuple[Axis, ...]:
    """Decisions along the dimensions of `blocks` (dimension to block size), shared along others.

    Neighbouring dimensions that are treated alike become one axis: row-major order makes that
    exact, and it leaves a handful of axes however many dimensions there are.
    """
    axes: list[Axis] = []
    for dimension, size in enumerate(shape):
        block = blocks.get(dimension)
        axis = Axis(size, size, 1) if block is None else Axis(size, block, -(-size // block))
        merged = _merge(axes[-1], axis) if axes else None
        axes[-1:] = [merged] if merged else [*axes[-1:], axis]
    return tuple(axes)


def _merge(left: Axis, right: Axis) -> Axis | None:
    size = left.size * right.size
    if left.cells == left.size and right.cells == right.size:
        return Axis(size, 1, size)
    if left.cells == 1 == right.cells:
        return Axis(size, size, 1)
    return None


class Mask:
    """The decisions of one tensor, at any range of its row-major element indices."""

    def __init__(self, key: bytes, p: float, grid: tuple[Axis, ...]) -> None:
        self._algorithm = algorithms.AES(key)
        self._threshold = threshold(p)
        self._grid = grid
        # Elements and cells of one index of each axis: the products over the axes after it.
        self._inner = [prod(axis.size for axis in grid[level + 1 :]) for level in range(len(grid))]
        self._below = [prod(axis.cells for axis in grid[level + 1 :]) for level in range(len(grid))]

    @cached_property
    def decisions(self) -> int:
        """The number of cells of the grid."""
        return prod(axis.cells for axis in self._grid)

    @cached_property
    def per_element(self) -> bool:
        """Whether decision i is simply that of element i."""
        return all(axis.block == 1 and axis.cells == axis.size for axis in self._grid)

    def count_dropped(self) -> int:
        """How many of all decisions are "drop"."""
        keep = np.empty(min(self.decisions, _CHUNK), np.bool_)
        dropped = 0
        for start in range(0, self.decisions, _CHUNK):
            part = keep[: self.decisions - start]
            self._decide(start, part)
            dropped += len(part) - int(np.count_nonzero(part))
        return dropped

    def keep(self, start: int, out: NDArray[np.bool_]) -> None:
        """Whether each of the elements from `start` on is kept, written to `out`, shape (n,)."""
        if self.per_element:
            self._decide(start, out)
        else:
            self._expand(0, 0, start, out)

    def keep_at(self, elements: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these elements is kept, in any order, shape (n,)."""
        if self._threshold == 2**32:
            return np.zeros(len(elements), np.bool_)
        counters, lanes = np.divmod(self._cells(elements), _WORDS_PER_COUNTER)
        # Counter mode encrypts its counters, so other mode-less encryption gives any of its words.
        blocks = np.zeros((len(counters), 2), ">u8")
        blocks[:, 1] = counters
        stream = Cipher(self._algorithm, modes.ECB()).encryptor().update(blocks.tobytes())
        words = np.frombuffer(stream, "<u4").reshape(-1, _WORDS_PER_COUNTER)
        return words[np.arange(len(lanes)), lanes] >= np.uint32(self._threshold)

    def _cells(self, elements: NDArray[np.int64]) -> NDArray[np.int64]:
        """The decision of each element."""
        if self.per_element:
            return elements
        cells = np.zeros_like(elements)
        for axis, inner, below in zip(self._grid, self._inner, self._below, strict=True):
            index, elements = np.divmod(elements, inner)
            cells += index // axis.block * below
        return cells

    def _decide(self, start: int, out: NDArray[np.bool_]) -> None:
        """The decisions from `start` on, True for keep."""
        if self._threshold == 2**32:
            out[:] = False  # a 32-bit word is always below it, and it does not fit one
            return
        counter, skip = divmod(start, _WORDS_PER_COUNTER)
        encryptor = Cipher(self._algorithm, modes.CTR(counter.to_bytes(16, "big"))).encryptor()
        limit = np.uint32(self._threshold)
        # A cipher asks for room for one block more than it writes.
        stream = bytearray(4 * (min(len(out) + skip, _CHUNK) + _WORDS_PER_COUNTER))
        words = np.frombuffer(stream, "<u4")
        done = -skip
        while done < len(out):
            count = min(len(out) - done, _CHUNK)
            encryptor.update_into(_ZEROS[: 4 * count], stream)
            first = max(done, 0)
            np.greater_equal(words[first - done : count], limit, out=out[first : done + count])
            done += count

    def _expand(self, level: int, cell: int, start: int, out: NDArray[np.bool_]) -> None:
        """Elements from `start` on of the box of axes from `level` on, whose cells begin at `cell`.

        A range of elements is a partial row, whole rows, and a partial row; the partial ones are
        ranges of the box one axis further in.
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

    def _expand_rows(self, level: int, cell: int, row: int, out: NDArray[np.bool_]) -> None:
        """Whole rows of that box, from `row` on, into `out` of shape (rows, elements of a row)."""
        axis, below = self._grid[level], self._below[level]
        first, last = row // axis.block, (row + len(out) - 1) // axis.block
        cells = np.empty((last + 1 - first) * below, np.bool_)
        self._decide(cell + first * below, cells)

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
