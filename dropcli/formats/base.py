"""The interface of a file format, and the segments that describe an output.

An output is a sequence of segments: known bytes, and extents of the source. Extents are copied or,
if they belong to a selected tensor, rewritten with the same length.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from isal import isal_zlib

from dropcli.files import Reader
from dropcli.tensors import Layout, TensorInfo

_encode = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes one in each call


class Checksum:
    """The CRC-32 of a run of bytes, combined from parts in order."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, crc: int, nbytes: int) -> None:
        """Append a part of `nbytes` bytes with this CRC-32."""
        self.value = isal_zlib.crc32_combine(self.value, crc, nbytes)


class Extent(NamedTuple):
    """A run of bytes of the source: elements of tensors, or other bytes to copy.

    `read` and `written` are the checksums to update with the bytes before and after dropout.
    """

    offset: int
    nbytes: int
    tensors: tuple[TensorInfo, ...] = ()
    read: Checksum | None = None
    written: Checksum | None = None


class Deferred(NamedTuple):
    """Bytes of known length that are made only after all bytes before them are written."""

    nbytes: int
    make: Callable[[], bytes]


class Gathered(NamedTuple):
    """The elements of a tensor in row-major order, collected by its layout."""

    tensor: TensorInfo
    layout: Layout

    @property
    def nbytes(self) -> int:
        """The number of bytes of the elements, without the gaps between them."""
        return self.tensor.elements * self.tensor.dtype.bits // 8


class Made(NamedTuple):
    """The keep mask of a tensor in row-major order, made from its decisions; a byte per element."""

    tensor: TensorInfo
    written: Checksum | None = None

    @property
    def nbytes(self) -> int:
        return self.tensor.elements


_KEPT = 1 << 12  # segments, in memory
INCOMPLETE = "the file is incomplete: copy, download or save it again"


Segment: TypeAlias = bytes | Extent | Deferred | Gathered | Made


def _nbytes(segment: Segment) -> int:
    return len(segment) if isinstance(segment, bytes) else segment.nbytes


class Source(ABC):
    """An open tensor file, or the tensors of another source in another format.

    Reading never executes anything in a file. `origin` provides the bytes.
    """

    format: str
    size: int
    seekable: bool
    tensors: list[TensorInfo]
    metadata: dict[str, str]
    provenance: list[Any] | None  # None if its place holds other data
    root: str = ""  # the top folder of an archive
    notes: list[str]  # warnings about the file
    holds_arrays: bool = False  # numpy arrays in addition to tensors
    unknown_classes: Sequence[str] = ()  # classes of other packages, copied unread

    def __init__(self, origin: "Reader | Source") -> None:
        self._origin = origin
        self.seekable = origin.seekable

    @abstractmethod
    def check_selected(self, names: Collection[str]) -> None:
        """Raise TensorError if dropping these tensors would change others."""

    @abstractmethod
    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The segments of the output, with this provenance or, if None, with unchanged metadata."""

    def segment(self, tensor: TensorInfo, written: Checksum | None = None) -> Segment:
        """The segment of a tensor in row-major order; a tied tensor gets its own copy."""
        if tensor.layout or tensor.tied_to:
            return Gathered(tensor, tensor.elements_layout)
        return Extent(tensor.offset, tensor.nbytes, (tensor,), None, written)

    def planned(self, provenance: list[Any] | None) -> tuple[Iterable[Segment], int]:
        """The same segments, and the number of bytes of all of them.

        If there are few, they are made only once.
        """
        segments = self.segments(provenance)
        first = list(islice(segments, _KEPT))
        size = sum(map(_nbytes, first))
        if len(first) < _KEPT:
            return first, size
        return self.segments(provenance), size + sum(map(_nbytes, segments))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset`. Raises FormatError if the file ends before."""
        self._origin.read_into(offset, buffer)

    def finish(self) -> None:
        """Raise FormatError if the file is longer than described, or changed while it was read."""
        self._origin.finish()

    def close(self) -> None:
        self._origin.close()


class Derived(Source):
    """The tensors of another source, as an output that holds nothing else."""

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
    """The provenance stored in a file; None if the text is not a JSON list."""
    try:
        entries = json.loads(text)
        json.dumps(entries, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return entries if isinstance(entries, list) else None


def dump_entries(provenance: list[Any]) -> str:
    """The provenance in the form that files store."""
    return _encode(provenance)
