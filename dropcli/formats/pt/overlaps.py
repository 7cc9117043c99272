"""Tensors that share memory: identical ones, and ones that overlap."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from dropcli.errors import TensorError
from dropcli.tensors import TensorInfo

_WINDOW = 1 << 20  # elements that are checked at a time


def tie(tensors: list[TensorInfo]) -> list[TensorInfo]:
    """Return the tensors; each is tied to the first one with exactly the same memory."""
    first: dict[Any, str] = {}
    tied = []
    for tensor in tensors:
        layout = tensor.elements_layout
        if tensor.nbytes and not tensor.unsupported and not layout.overlapping:
            memory = (tensor.offset, tensor.dtype.name, layout.places)
            name = first.setdefault(memory, tensor.name)
            if name != tensor.name:
                tensor = replace(tensor, tied_to=name)
        tied.append(tensor)
    return tied


def clusters(tensors: Collection[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Groups of tensors whose spans overlap, in file order."""
    cluster: list[TensorInfo] = []
    end = 0
    apart = [tensor for tensor in tensors if tensor.nbytes and not tensor.tied_to]
    for tensor in sorted(apart, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if cluster and tensor.offset >= end:
            yield cluster
            cluster = []
        cluster.append(tensor)
        end = max(end, tensor.offset + tensor.nbytes)
    if cluster:
        yield cluster


def check_overlaps(cluster: list[TensorInfo], names: Collection[str]) -> None:
    """Raise TensorError if a selected tensor shares elements with itself or another tensor."""
    selected = [tensor for tensor in cluster if tensor.name in names]
    for tensor in selected:
        if tensor.layout and tensor.layout.overlapping:
            raise TensorError(
                "overlapping-elements",
                f"tensor '{tensor.name}': its elements share memory, as after expand()",
                "leave it out with --exclude, or save a clone() of it",
            )
    if len(cluster) < 2 or not selected:
        return
    for tensor in cluster:
        # The elements differ in size or overlap themselves, so they cannot be compared one by one.
        if tensor.dtype != selected[0].dtype or (tensor.layout and tensor.layout.overlapping):
            raise _overlap(selected[0], tensor)
    _check_places(cluster, names)


def _check_places(cluster: list[TensorInfo], names: Collection[str]) -> None:
    """Mark the elements of each tensor, by windows. Raises TensorError for one marked twice."""
    itemsize = cluster[0].dtype.bits // 8
    end = max(tensor.offset + tensor.nbytes for tensor in cluster)
    for window in range(cluster[0].offset, end, _WINDOW * itemsize):
        owners = np.zeros(_WINDOW, np.int32)
        for number, tensor in enumerate(cluster, 1):
            start = (window - tensor.offset) // itemsize
            places = tensor.elements_layout.within(start, start + _WINDOW)[0] - start
            taken = owners[places]
            if taken.any():
                other = cluster[int(taken[taken > 0][0]) - 1]
                if tensor.name in names or other.name in names:
                    raise _overlap(tensor, other)
            owners[places] = number


def _overlap(tensor: TensorInfo, other: TensorInfo) -> TensorError:
    return TensorError(
        "overlapping-tensors",
        f"tensor '{tensor.name}': it overlaps tensor '{other.name}' in memory",
        "leave both out with --exclude, or save clones of them",
    )
