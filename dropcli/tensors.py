"""The vocabulary: what a tensor in a file is, and what a format must offer.

A file is an ordered run of segments: bytes that are known beforehand, and extents of the source
that are copied or, where they belong to a selected tensor, rewritten at the same length.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from dropcli.layouts import Layout

Kind: TypeAlias = Literal["float", "float8", "complex", "integer", "bool", "opaque"]


@dataclass(frozen=True)
class Dtype:
    """An element type under its safetensors name; `opaque` ones can only be copied."""

    name: str
    bits: int
    kind: Kind
    numpy_name: str

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian numpy type. bfloat16 and float8 come from ml_dtypes, loaded late."""
        if self.kind == "float8" or self.name == "BF16":
            import ml_dtypes

            scalar: type[Any] = getattr(ml_dtypes, self.numpy_name)
            return np.dtype(scalar)
        return np.dtype(self.numpy_name)


DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype("F64", 64, "float", "<f8"),
        Dtype("F32", 32, "float", "<f4"),
        Dtype("F16", 16, "float", "<f2"),
        Dtype("BF16", 16, "float", "bfloat16"),
        Dtype("C64", 64, "complex", "<c8"),
        Dtype("C128", 128, "complex", "<c16"),
        Dtype("F8_E4M3", 8, "float8", "float8_e4m3fn"),
        Dtype("F8_E5M2", 8, "float8", "float8_e5m2"),
        Dtype("F8_E4M3FNUZ", 8, "float8", "float8_e4m3fnuz"),
        Dtype("F8_E5M2FNUZ", 8, "float8", "float8_e5m2fnuz"),
        Dtype("I64", 64, "integer", "<i8"),
        Dtype("I32", 32, "integer", "<i4"),
        Dtype("I16", 16, "integer", "<i2"),
        Dtype("I8", 8, "integer", "i1"),
        Dtype("U64", 64, "integer", "<u8"),
        Dtype("U32", 32, "integer", "<u4"),
        Dtype("U16", 16, "integer", "<u2"),
        Dtype("U8", 8, "integer", "u1"),
        Dtype("BOOL", 8, "bool", "u1"),
        # No zero, or less than a byte: there is nothing dropout could write.
        Dtype("F8_E8M0", 8, "opaque", ""),
        Dtype("F6_E2M3", 6, "opaque", ""),
        Dtype("F6_E3M2", 6, "opaque", ""),
        Dtype("F4", 4, "opaque", ""),
    )
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file describes it; `offset` and `nbytes` are bytes in the source.

    layout: how the elements lie in those bytes, None for row-major without gaps;
    refusal: why it can only be copied, for sparse and other special tensors;
    tied_to: the name of an earlier tensor that is the same memory, dropped together with it.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    layout: Layout | None = None
    refusal: str | None = None
    tied_to: str | None = None

    def tied(self, name: str) -> "TensorInfo":
        """This tensor, known to be the same memory as that one."""
        return replace(self, tied_to=name)

    def places_within(self, start: int, stop: int) -> NDArray[np.int64]:
        """Where elements begin among these bytes of the source, in bytes from `start`."""
        layout = self.layout or Layout.row_major(self.shape)
        itemsize = self.dtype.bits // 8
        first = layout.rank(-(-(start - self.offset) // itemsize))
        last = layout.rank(-(-(stop - self.offset) // itemsize))
        places, _ = layout.locate(first, last)
        return places * itemsize + (self.offset - start)

    @cached_property
    def elements(self) -> int:
        """The number of elements: 1 for a 0-d tensor."""
        return prod(self.shape)


class Checksum:
    """The CRC-32 of a run of bytes, taken in parts and put together in order."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, crc: int, nbytes: int) -> None:
        """Take in the checksum of the bytes that follow."""
        self.value = isal_zlib.crc32_combine(self.value, crc, nbytes)


@dataclass(frozen=True)
class Extent:
    """A run of bytes of the source: the elements of tensors, or anything to copy.

    `read` and `written`, where there are checksums, learn of the bytes before and after.
    """

    offset: int
    nbytes: int
    tensors: tuple[TensorInfo, ...] = ()
    read: Checksum | None = None
    written: Checksum | None = None


@dataclass(frozen=True)
class Late:
    """Bytes of known number that are made only when all before them have been written."""

    nbytes: int
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Gathered:
    """The elements of a tensor in row-major order, from wherever its layout has them."""

    tensor: TensorInfo
    layout: Layout

    @property
    def nbytes(self) -> int:
        """The bytes of the elements alone."""
        return self.tensor.elements * self.tensor.dtype.bits // 8


def elements(tensor: TensorInfo) -> Extent | Gathered:
    """The elements of a tensor in row-major order; a tied one is written for itself."""
    if tensor.layout or tensor.tied_to:
        return Gathered(tensor, tensor.layout or Layout.row_major(tensor.shape))
    return Extent(tensor.offset, tensor.nbytes, (tensor,))


Segment: TypeAlias = bytes | Extent | Late | Gathered


def total(segments: Iterable[Segment]) -> int:
    """The bytes of all these segments."""
    return sum(len(part) if isinstance(part, bytes) else part.nbytes for part in segments)


class Source(Protocol):
    """An open tensor file; reading never runs anything the file contains."""

    format: str
    size: int
    seekable: bool
    tensors: list[TensorInfo]
    metadata: dict[str, str]
    provenance: list[Any] | None  # None where something else has its place
    notes: list[str]  # what the user should know of how the file was read
    strangers: Sequence[str]  # classes in the file that are not torch's, carried on unread

    def check_selected(self, names: Collection[str]) -> None:
        """TensorError if these tensors cannot be dropped without touching others."""

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The output in order, with this provenance, or (None) with the metadata as it is."""

    def output_size(self, provenance: list[Any] | None) -> int:
        """The bytes that `segments` adds up to, known before anything is read."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from there; FormatError if the file ends first."""

    def finish(self) -> None:
        """FormatError unless everything was there, nothing more, and nothing changed."""

    def close(self) -> None:
        """Let go of the file."""
