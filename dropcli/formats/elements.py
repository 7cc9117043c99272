"""The elements of tensors in row-major order, read a block at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dropcli.formats.base import Source
from dropcli.tensors import Indices, TensorInfo

GAP = 1 << 12  # a gap of up to this many bytes is read too, which is cheaper than two reads

Elements = NDArray[np.void]


def elements_at(source: Source, tensor: TensorInfo, places: Indices) -> Elements:
    """The elements at these places, shape (n,). Places that are close together are read at once."""
    itemsize = tensor.dtype.bits // 8
    order = np.argsort(places, kind="stable")
    found = np.empty(len(places), f"V{itemsize}")
    gaps = np.flatnonzero(np.diff(places[order]) * itemsize > GAP) + 1
    for near in np.split(order, gaps) if len(places) else ():
        first, last = int(places[near[0]]), int(places[near[-1]])
        run = bytearray((last + 1 - first) * itemsize)
        source.read_into(tensor.offset + first * itemsize, memoryview(run))
        found[near] = np.frombuffer(run, found.dtype)[places[near] - first]
    return found


def element_blocks(source: Source, tensor: TensorInfo, count: int) -> Iterator[Elements]:
    """Yield all elements, `count` at a time; each block is read into the same memory.

    For a dtype with less than a byte per element, these are bytes.
    """
    itemsize = max(1, tensor.dtype.bits // 8)
    total = tensor.elements if tensor.dtype.bits >= 8 else tensor.nbytes
    buffer = bytearray(0 if tensor.layout else min(total, count) * itemsize)
    for first in range(0, total, count):
        size = min(count, total - first)
        if tensor.layout:
            yield elements_at(source, tensor, tensor.layout.positions(first, first + size))
        else:
            data = memoryview(buffer)[: size * itemsize]
            source.read_into(tensor.offset + first * itemsize, data)
            yield np.frombuffer(data, f"V{itemsize}")
