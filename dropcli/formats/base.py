"""What a format must offer, and the segments in which files are described.

A file is an ordered run of segments: bytes that are known beforehand, and extents of the source
that are copied or, where they belong to a selected tensor, rewritten at the same length.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from isal import isal_zlib

from dropcli.files import Reader
from dropcli.tensors import Layout, TensorInfo


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
class Deferred:
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


Segment: TypeAlias = bytes | Extent | Deferred | Gathered


def segment_of(tensor: TensorInfo) -> Extent | Gathered:
    """The elements of a tensor in row-major order; a tied one is written for itself."""
    if tensor.layout or tensor.tied_to:
        return Gathered(tensor, tensor.elements_layout)
    return Extent(tensor.offset, tensor.nbytes, (tensor,))


class Source(ABC):
    """An open tensor file, or another source's tensors as a file of another kind.

    Reading never runs anything that a file contains. `origin` is what the bytes are read from.
    """

    format: str
    size: int
    seekable: bool
    tensors: list[TensorInfo]
    metadata: dict[str, str]
    provenance: list[Any] | None  # None where something else has its place
    root: str = ""  # the folder at the top of an archive
    notes: list[str]  # what the user should know of how the file was read
    holds_arrays: bool = False  # of numpy, beside the tensors
    unknown_classes: Sequence[str] = ()  # in the file, not torch's, carried on unread

    def __init__(self, origin: "Reader | Source") -> None:
        self._origin = origin
        self.seekable = origin.seekable

    @abstractmethod
    def check_selected(self, names: Collection[str]) -> None:
        """TensorError if these tensors cannot be dropped without touching others."""

    @abstractmethod
    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The output in order, with this provenance, or (None) with the metadata as it is."""

    def output_size(self, provenance: list[Any] | None) -> int:
        """The bytes of all segments, known before anything is read."""
        parts = self.segments(provenance)
        return sum(len(part) if isinstance(part, bytes) else part.nbytes for part in parts)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from there; FormatError if the file ends first."""
        self._origin.read_into(offset, buffer)

    def finish(self) -> None:
        """FormatError unless everything was there, nothing more, and nothing changed."""
        self._origin.finish()

    def close(self) -> None:
        self._origin.close()


class Derived(Source):
    """Another source's tensors in segments of another kind of file, which holds them alone."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._source = source
        self.size = source.size
        self.metadata = source.metadata
        self.provenance = source.provenance
        self.tensors = source.tensors
        self.notes = list(source.notes)
        self.holds_arrays = source.holds_arrays

    def check_selected(self, names: Collection[str]) -> None:
        self._source.check_selected(names)


def parse_entries(text: str | bytes) -> list[Any] | None:
    """The provenance that a file holds; None if something else is in its place."""
    try:
        entries = json.loads(text)
        json.dumps(entries, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return entries if isinstance(entries, list) else None


def dump_entries(provenance: list[Any]) -> str:
    """The provenance as files hold it."""
    return json.dumps(provenance, separators=(",", ":"))
