"""A tensor in a file: its name, shape and element type, and the places of its elements."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Kind: TypeAlias = Literal["float", "float8", "complex", "integer", "bool", "opaque"]


@dataclass(frozen=True)
class Dtype:
    """An element type with its safetensors name; `opaque` types can only be copied.

    `storage` is the class of torch storage that holds only such elements.
    """

    name: str
    bits: int
    kind: Kind
    numpy_name: str
    torch_name: str | None = None
    storage: str | None = None

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian numpy type.

        ml_dtypes, for bfloat16 and float8, is imported only if needed.
        """
        if self.kind == "float8" or self.name == "BF16":
            import ml_dtypes

            scalar: type[Any] = getattr(ml_dtypes, self.numpy_name)
            return np.dtype(scalar)
        return np.dtype(self.numpy_name)


DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype("F64", 64, "float", "<f8", "float64", "DoubleStorage"),
        Dtype("F32", 32, "float", "<f4", "float32", "FloatStorage"),
        Dtype("F16", 16, "float", "<f2", "float16", "HalfStorage"),
        Dtype("BF16", 16, "float", "bfloat16", "bfloat16", "BFloat16Storage"),
        Dtype("C64", 64, "complex", "<c8", "complex64", "ComplexFloatStorage"),
        Dtype("C128", 128, "complex", "<c16", "complex128", "ComplexDoubleStorage"),
        Dtype("F8_E4M3", 8, "float8", "float8_e4m3fn", "float8_e4m3fn"),
        Dtype("F8_E5M2", 8, "float8", "float8_e5m2", "float8_e5m2"),
        Dtype("F8_E4M3FNUZ", 8, "float8", "float8_e4m3fnuz", "float8_e4m3fnuz"),
        Dtype("F8_E5M2FNUZ", 8, "float8", "float8_e5m2fnuz", "float8_e5m2fnuz"),
        Dtype("I64", 64, "integer", "<i8", "int64", "LongStorage"),
        Dtype("I32", 32, "integer", "<i4", "int32", "IntStorage"),
        Dtype("I16", 16, "integer", "<i2", "int16", "ShortStorage"),
        Dtype("I8", 8, "integer", "i1", "int8", "CharStorage"),
        Dtype("U64", 64, "integer", "<u8", "uint64"),
        Dtype("U32", 32, "integer", "<u4", "uint32"),
        Dtype("U16", 16, "integer", "<u2", "uint16"),
        Dtype("U8", 8, "integer", "u1", "uint8", "ByteStorage"),
        Dtype("BOOL", 8, "bool", "u1", "bool", "BoolStorage"),
        # These have no zero, or less than a byte per element, so dropout cannot write them.
        Dtype("F8_E8M0", 8, "opaque", "", "float8_e8m0fnu"),
        Dtype("F6_E2M3", 6, "opaque", ""),
        Dtype("F6_E3M2", 6, "opaque", ""),
        Dtype("F4", 4, "opaque", ""),
    )
}
BY_TORCH_NAME = {dtype.torch_name: dtype for dtype in DTYPES.values() if dtype.torch_name}
BY_STORAGE = {dtype.storage: dtype for dtype in DTYPES.values() if dtype.storage}


class Layout:
    """The arrangement of the elements of a strided tensor in its storage.

    An element has three numbers. Its place is counted in elements from the tensor's first one. Its
    logical index is row-major in the shape, and determines its decision. Its rank is the order of
    places without the gaps between them. Each is a sum over the axes of index times step.

    Args:
        shape: the sizes of the dimensions.
        strides: the steps between places, in elements; 0 or more.
    """

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        steps = row_major_strides(shape)
        axes = [axis for axis in zip(strides, shape, steps, strict=True) if axis[1] != 1]
        axes.sort(key=lambda axis: -axis[0])
        self.elements = prod(shape)
        self._sizes = tuple(size for _, size, _ in axes)
        self._strides = tuple(stride for stride, _, _ in axes)
        self._logical = tuple(step for _, _, step in axes)
        self._ranks = row_major_strides(self._sizes)

    @classmethod
    def row_major(cls, shape: tuple[int, ...]) -> "Layout":
        """The layout without gaps whose last dimension varies fastest."""
        return cls(shape, row_major_strides(shape))

    @cached_property
    def span(self) -> int:
        """The number of places from the first element to the last."""
        return self._reach(0) + 1 if self.elements else 0

    @cached_property
    def overlapping(self) -> bool:
        """Whether two elements may share a place, for example with a stride of 0."""
        if not self.elements:
            return False
        return any(stride <= self._reach(number + 1) for number, stride in enumerate(self._strides))

    @cached_property
    def contiguous(self) -> bool:
        """Whether rank, place and logical index are all the same."""
        return not self.elements or self._strides == self._logical

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Strides and sizes, with axes merged: equal for layouts that fill the same places."""
        places: list[tuple[int, int]] = []
        for stride, size in zip(self._strides, self._sizes, strict=True):
            if places and places[-1][0] == stride * size:
                size *= places.pop()[1]
            places.append((stride, size))
        return tuple(places)

    def within(self, start: int, stop: int) -> tuple[Indices, Indices]:
        """The places of elements from `start` to before `stop`, and their logical indices.

        Not for layouts that overlap.
        """
        ranks = np.arange(self._elements_before(start), self._elements_before(stop))
        places = _convert(ranks, self._ranks, self._strides)
        return places, _convert(ranks, self._ranks, self._logical)

    def ranks(self, logical: Indices) -> Indices:
        """The ranks of the elements with these logical indices."""
        return _convert(logical, self._logical, self._ranks)

    def logical_at(self, places: Indices) -> Indices:
        """The logical indices of the elements at these places; not for layouts that overlap."""
        return _convert(places, self._strides, self._logical)

    def places_of(self, logical: Indices) -> Indices:
        """The places of the elements with these logical indices."""
        return _convert(logical, self._logical, self._strides)

    def positions(self, first: int, last: int) -> Indices:
        """The places of the elements with logical indices from `first` to before `last`."""
        return self.places_of(np.arange(first, last))

    def _elements_before(self, place: int) -> int:
        if place <= 0:
            return 0
        rank, rest = 0, place
        for stride, size, inner in zip(self._strides, self._sizes, self._ranks, strict=True):
            index, rest = divmod(rest, stride)
            if index >= size:
                return rank + size * inner
            rank += index * inner
        return rank + (rest > 0)

    def _reach(self, number: int) -> int:
        """The distance between the first and the last place of the axes from `number` on."""
        axes = zip(self._strides[number:], self._sizes[number:], strict=True)
        return sum(stride * (size - 1) for stride, size in axes)


def row_major_strides(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a tensor without gaps whose last dimension varies fastest."""
    return tuple(prod(sizes[number + 1 :]) for number in range(len(sizes)))


def _convert(numbers: Indices, steps: tuple[int, ...], others: tuple[int, ...]) -> Indices:
    """The sums of index times `others` for the indices whose sums with `steps` are given."""
    found = np.zeros_like(numbers)
    for step, other in sorted(zip(steps, others, strict=True), reverse=True):
        index, numbers = np.divmod(numbers, step)
        found += index * other
    return found


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file describes it; `offset` and `nbytes` are bytes in the source.

    layout: the arrangement of the elements in those bytes; None for row-major order without gaps.
    unsupported: the reason why it can only be copied, for sparse and other special tensors.
    tied_to: the name of an earlier tensor in the same memory, which is dropped together with it.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    layout: Layout | None = None
    unsupported: str | None = None
    tied_to: str | None = None

    @cached_property
    def elements_layout(self) -> Layout:
        """The layout, also for row-major elements."""
        return self.layout or Layout.row_major(self.shape)

    @property
    def elements(self) -> int:
        """The number of elements: 1 for a 0-d tensor."""
        return prod(self.shape)
