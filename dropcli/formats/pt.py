"""`.pt` files: zip archives of a pickle and of storages, rewritten without being unpickled.

The pickle says where each tensor lies in which storage (see `objects`). It and all other members
are copied; only the bytes of selected tensors change, and the checksums that follow them.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from isal import isal_zlib

from dropcli.errors import FormatError, TensorError
from dropcli.formats.archives import Member, Writer, read_members
from dropcli.formats.globals import check_globals
from dropcli.formats.objects import Found, find_tensors, left_over
from dropcli.formats.pickles import Global, load
from dropcli.layouts import Layout
from dropcli.reader import Reader
from dropcli.tensors import DTYPES, Checksum, Dtype, Extent, Segment, TensorInfo, total

PROVENANCE = "dropcli.json"
STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "ComplexDoubleStorage": "C128",
    "ComplexFloatStorage": "C64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
TORCH_DTYPES = {
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "complex128": "C128",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_UNKNOWN = Dtype("?", 8, "opaque", "")
_CHUNK = 1 << 20  # bytes
_MOST_PICKLE_BYTES = 1 << 28  # of some 3 million tensors
_WINDOW = 1 << 20  # elements of which overlaps are looked for at a time


class PtSource:
    """An open `.pt` file. FormatError for what is damaged, hostile, or no data."""

    format = "pt"
    seekable = True
    metadata: dict[str, str] = {}  # noqa: RUF012  # such files have none

    def __init__(self, reader: Reader, notes: Sequence[str] = ()) -> None:
        self._reader = reader
        self.notes = list(notes)
        self._members = {member.name: member for member in read_members(reader)}
        self._root = _root(self._members)
        self.size = reader.size or 0
        self._check_container()
        data = self._read("data.pkl")

        record, names = load(data)
        self.strangers: Sequence[str] = check_globals(names)
        found = list(find_tensors(record))
        self.left_over = left_over(record)
        self._storages: dict[str, tuple[Member, str]] = {}
        self.tensors = self._tie([self._info(tensor) for tensor in found])
        self.provenance = self._read_provenance()

    def check_selected(self, names: Collection[str]) -> None:
        """TensorError if one of these shares some of its elements with another tensor."""
        for _, cluster in self._clusters():
            if len(cluster) > 1 and any(tensor.name in names for tensor in cluster):
                _check_apart(cluster, names)
        for tensor in self.tensors:
            if tensor.name in names and tensor.layout and tensor.layout.overlapping:
                raise TensorError(
                    "overlapping-elements",
                    f"tensor '{tensor.name}': expected elements of its own, got some that share "
                    "their memory, as after expand()",
                    "leave it out with --exclude, or save a clone() of it",
                )

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The members in their order, then the provenance, then the directory."""
        writer = Writer()
        clusters = {
            name: [cluster for _, cluster in group]
            for name, group in groupby(self._clusters(), key=lambda item: item[0].name)
        }
        for member in self._members.values():
            if provenance is None or member.name != f"{self._root}/{PROVENANCE}":
                yield from _copy(writer, member, clusters.get(member.name, []))
        if provenance is not None:
            yield from writer.add_known(f"{self._root}/{PROVENANCE}", dump(provenance))
        yield from writer.end()

    def output_size(self, provenance: list[Any] | None) -> int:
        """The bytes of all segments."""
        return total(self.segments(provenance))

    def verify(self) -> None:
        """FormatError for a member that does not fit its checksum, after reading them all."""
        buffer = memoryview(bytearray(_CHUNK))
        for member in self._members.values():
            checksum = Checksum()
            for start in range(0, member.nbytes, _CHUNK):
                data = buffer[: member.nbytes - start]
                self.read_into(member.offset + start, data)
                checksum.add(isal_zlib.crc32(data), len(data))
            _check_crc(member, checksum.value)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from there; FormatError if the file ends first."""
        self._reader.read_into(offset, buffer)

    def finish(self) -> None:
        """FormatError if the file changed."""
        self._reader.check_finished()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def _read(self, name: str) -> bytes:
        member = self._members.get(f"{self._root}/{name}")
        if member is None:
            raise FormatError("no-member", f"expected a member '{name}', got none")
        data = self._reader.read(member.offset, member.nbytes)
        _check_crc(member, isal_zlib.crc32(data))
        return data

    def _check_container(self) -> None:
        """What concerns the archive as a whole."""
        members = self._members.values()
        if not any(member.crc for member in members) and any(member.nbytes for member in members):
            self.notes.append("its checksums were never computed, so damage would not be noticed")
        pickled = self._members.get(f"{self._root}/data.pkl")
        if pickled and pickled.nbytes > _MOST_PICKLE_BYTES:
            raise FormatError(
                "pickle-too-large",
                f"expected a pickle of {_MOST_PICKLE_BYTES:,} bytes or less, "
                f"got {pickled.nbytes:,}",
            )
        if f"{self._root}/byteorder" in self._members and self._read("byteorder") != b"little":
            raise FormatError("byte-order", "expected a little-endian file, got a big-endian one")
        version = self._read("version").strip()
        if not version.isdigit() or not 1 <= int(version[:9]) <= 10:
            raise FormatError(
                "newer-version", f"expected version 1 to 10 of the format, got {version[:20]!r}"
            )

    def _read_provenance(self) -> list[Any] | None:
        if f"{self._root}/{PROVENANCE}" not in self._members:
            return []
        try:
            entries = json.loads(self._read(PROVENANCE))
            json.dumps(entries, allow_nan=False)
        except (ValueError, RecursionError):
            return None
        return entries if isinstance(entries, list) else None

    def _info(self, found: Found) -> TensorInfo:
        if found.special and found.storage is None:
            why = f"it is {found.special}"
            return TensorInfo(found.name, _UNKNOWN, found.shape, 0, 0, refusal=why)
        member, dtype, numel = self._storage(found)
        layout = Layout(found.shape, found.strides)
        itemsize = dtype.bits // 8
        if found.offset + layout.span > numel:
            raise FormatError(
                "outside-storage",
                f"tensor '{found.name}': expected to lie within its storage of {numel:,} elements, "
                f"got {found.offset + layout.span:,}",
            )
        refusal = f"it is {found.special}" if found.special else None
        return TensorInfo(
            found.name,
            dtype,
            found.shape,
            member.offset + found.offset * itemsize,
            layout.span * itemsize,
            None if layout.contiguous else layout,
            refusal,
        )

    def _storage(self, found: Found) -> tuple[Member, Dtype, int]:
        """The member of a storage, its element type and its number of elements."""
        match found.storage:
            case ("storage", Global() as kind, str() as key, _, int() as numel):
                pass
            case _:
                raise FormatError(
                    "damaged-storage", f"tensor '{found.name}': expected a storage, got none"
                )
        member = self._members.get(f"{self._root}/data/{key}")
        if member is None:
            raise FormatError("no-member", f"expected a member 'data/{key}', got none")
        dtype = DTYPES.get(STORAGES.get(kind.name, ""), _UNKNOWN)
        if found.dtype is not None:
            dtype = DTYPES.get(TORCH_DTYPES.get(found.dtype, ""), _UNKNOWN)
        itemsize = 1 if kind.name == "UntypedStorage" else dtype.bits // 8
        if dtype is not _UNKNOWN and numel * itemsize != member.nbytes:
            raise FormatError(
                "wrong-size",
                f"member 'data/{key}': expected {numel * itemsize:,} bytes, got {member.nbytes:,}",
            )
        if self._storages.setdefault(member.name, (member, kind.name)) != (member, kind.name):
            raise FormatError(
                "two-dtypes", f"member 'data/{key}': expected one dtype for it, got {kind.name} too"
            )
        return member, dtype, member.nbytes * 8 // dtype.bits

    def _tie(self, tensors: list[TensorInfo]) -> list[TensorInfo]:
        """Tell tensors that are the same memory from the first of them."""
        first: dict[tuple[Any, ...], str] = {}
        tied = []
        for tensor in tensors:
            key = (tensor.offset, tensor.nbytes, tensor.dtype.name, tensor.elements)
            layout = tensor.layout
            if tensor.nbytes and not (layout and layout.overlapping):
                name = first.setdefault((*key, layout.places if layout else ()), tensor.name)
                if name != tensor.name:
                    tensor = tensor.tied(name)
            tied.append(tensor)
        return tied

    def _clusters(self) -> Iterator[tuple[Member, list[TensorInfo]]]:
        """Tensors whose bytes interleave or overlap, by member and in the order of the file."""
        members = sorted(
            (member for member, _ in self._storages.values()), key=attrgetter("offset")
        )
        tensors = [tensor for tensor in self.tensors if tensor.nbytes and not tensor.tied_to]
        tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
        remaining = iter(members)
        member: Member | None = None
        cluster: list[TensorInfo] = []
        end = 0
        for tensor in tensors:
            if cluster and tensor.offset >= end:
                assert member
                yield member, cluster
                cluster = []
            while member is None or tensor.offset >= member.offset + member.nbytes:
                member = next(remaining)
            cluster.append(tensor)
            end = max(end, tensor.offset + tensor.nbytes)
        if cluster and member:
            yield member, cluster


def _root(members: Collection[str]) -> str:
    roots = {name.partition("/")[0] for name in members if "/" in name}
    if len(roots) != 1 or not all("/" in name for name in members) or roots & {"", ".", ".."}:
        raise FormatError("no-root", "expected one folder at the top of the archive, got otherwise")
    return roots.pop()


def _copy(writer: Writer, member: Member, clusters: list[list[TensorInfo]]) -> Iterator[Segment]:
    """The member as it is, but for the tensors in it; what was read is held to its checksum."""
    read = Checksum()

    def payload(written: Checksum) -> Iterator[Segment]:
        position, stop = member.offset, member.offset + member.nbytes
        for cluster in clusters:
            start = cluster[0].offset
            end = max(tensor.offset + tensor.nbytes for tensor in cluster)
            if start > position:
                yield Extent(position, start - position, (), read, written)
            yield Extent(start, end - start, tuple(cluster), read, written)
            position = end
        if position < stop:
            yield Extent(position, stop - position, (), read, written)

    yield from writer.add(
        member.name, member.nbytes, payload, lambda: _check_crc(member, read.value)
    )


def _check_crc(member: Member, crc: int) -> None:
    # torch can be told not to compute checksums; it then writes zeros.
    if crc != member.crc and member.crc:
        raise FormatError(
            "wrong-checksum",
            f"member '{member.name}': expected checksum {member.crc:08x}, got {crc:08x}",
            "the file is damaged: copy or save it again",
        )


def _check_apart(cluster: list[TensorInfo], names: Collection[str]) -> None:
    """Mark the places of each tensor, a window at a time, and look for those marked twice."""
    start = cluster[0].offset
    itemsize = min(tensor.dtype.bits // 8 for tensor in cluster)
    end = max(tensor.offset + tensor.nbytes for tensor in cluster)
    for window in range(start, end, _WINDOW * itemsize):
        owners = np.zeros(_WINDOW, np.int32)
        for number, tensor in enumerate(cluster, 1):
            places = tensor.places_within(window, window + _WINDOW * itemsize) // itemsize
            taken = owners[places]
            if taken.any():
                other = cluster[int(taken[taken > 0][0]) - 1]
                if tensor.name in names or other.name in names:
                    raise TensorError(
                        "overlapping-tensors",
                        f"tensor '{tensor.name}': expected memory of its own, got some of "
                        f"tensor '{other.name}'",
                        "leave both out with --exclude, or save clones of them",
                    )
            owners[places] = number


def dump(provenance: list[Any]) -> bytes:
    """The member that holds the provenance."""
    return json.dumps(provenance, separators=(",", ":")).encode()
