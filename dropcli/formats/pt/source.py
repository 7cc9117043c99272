"""`.pt` files: zip archives of a pickle and storages, rewritten without unpickling.

The pickle says which part of which storage belongs to each tensor (see `rebuild`). All members are
copied; only the bytes of selected tensors and the checksums after them change.
"""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from isal import isal_zlib

from dropcli.errors import FormatError
from dropcli.files import Reader
from dropcli.formats.base import Checksum, Extent, Segment, Source, dump_entries, parse_entries
from dropcli.formats.pt.archive import PROVENANCE, Member, Writer, read_members, trailing_bytes
from dropcli.formats.pt.calls import check_calls
from dropcli.formats.pt.overlaps import check_overlaps, clusters, tie
from dropcli.formats.pt.rebuild import FoundTensor, find_tensors, first_non_tensor
from dropcli.formats.pt.records import Global, Loaded, Reference
from dropcli.formats.pt.safe_globals import check_globals
from dropcli.formats.pt.unpickle import load
from dropcli.tensors import BY_STORAGE, BY_TORCH_NAME, Dtype, Layout, TensorInfo

_UNKNOWN = Dtype("?", 8, "opaque", "")
_ITEM_SIZES = {"UntypedStorage": 1, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4}
_CHUNK = 1 << 20  # bytes
MAX_PICKLE_BYTES = 1 << 28  # enough for 3 million tensors
_MAX_BYTES = {"data.pkl": MAX_PICKLE_BYTES, PROVENANCE: 1 << 24}
_MAX_SMALL_BYTES = 1 << 10  # for other members that are read whole
_PICKLES = (".pkl", ".pickle")
_SAVE_AGAIN = "if you trust it, load it with torch and save it again"


class PtSource(Source):
    """An open `.pt` file. Raises FormatError if it is damaged or unsafe."""

    format = "pt"
    metadata: dict[str, str] = {}  # noqa: RUF012  # such files have none

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._reader = reader
        self.notes = []
        self.size = reader.size or 0
        # The many records are all in use, and garbage collection would double the time.
        with _no_collection():
            loaded = self._load()
            found = list(find_tensors(loaded.record))
        self._kinds: dict[str, str] = {}
        in_tensors = {id(tensor.storage) for tensor in found}
        for reference in loaded.references:  # storages that belong to no tensor are checked too
            if id(reference.id) not in in_tensors:
                self._check_unused(reference)
        self.unknown_classes = check_globals(loaded.globals)
        check_calls(loaded.calls, loaded.globals)
        self.holds_arrays = any(
            name.module.startswith("numpy") and name.name in ("_reconstruct", "_frombuffer")
            for name in loaded.globals
        )
        self.tensors = tie([self._info(tensor) for tensor in found if not tensor.inside])
        # The parts of special tensors must not change, so they count as overlaps.
        self._inside = [self._info(tensor) for tensor in found if tensor.inside]
        self.provenance = self._entries()

    def _load(self) -> Loaded:
        """Find the members and read the pickle."""
        self._members = {member.name: member for member in read_members(self._reader)}
        self.root = _root(self._members)
        self._check_container()
        loaded = load(self._pickle())
        if loaded.rest:
            self.notes.append(f"{loaded.rest:,} bytes after its pickle are copied unread")
        if after := trailing_bytes(self._reader):
            self.notes.append(f"{after:,} bytes after the archive are left out")
        return loaded

    def _pickle(self) -> bytes:
        return self._read("data.pkl")

    def _entries(self) -> list[Any] | None:
        kept = f"{self.root}/{PROVENANCE}" in self._members
        return parse_entries(self._read(PROVENANCE)) if kept else []

    def check_selected(self, names: Collection[str]) -> None:
        """Raise TensorError if a selected tensor shares only a part of its elements."""
        for cluster in clusters([*self.tensors, *self._inside]):
            check_overlaps(cluster, names)

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The members in file order, then the provenance, then the directory."""
        writer = Writer(self._alignment())
        for member, inside in self._placed():
            if provenance is None or member.name != f"{self.root}/{PROVENANCE}":
                yield from self._copy(writer, member, inside)
        if provenance is not None:
            data = dump_entries(provenance).encode()
            yield from writer.add_known(f"{self.root}/{PROVENANCE}", data)
        yield from writer.end()

    def first_non_tensor(self) -> str | None:
        """The name of the first value in the file that is not a tensor; None if all are."""
        with _no_collection():
            return first_non_tensor(load(self._pickle()).record)

    def verify(self) -> None:
        """Read all members. Raises FormatError if a checksum is wrong."""
        buffer = memoryview(bytearray(_CHUNK))
        for member in self._members.values():
            checksum = Checksum()
            for start in range(0, member.nbytes, _CHUNK):
                data = buffer[: member.nbytes - start]
                self.read_into(member.offset + start, data)
                checksum.add(isal_zlib.crc32(data), len(data))
            self._check_crc(member, checksum.value)

    def _copy(
        self, writer: Writer, member: Member, inside: list[list[TensorInfo]]
    ) -> Iterator[Segment]:
        """Copy the member with the tensors in it, and compare what was read with its checksum."""
        read = Checksum()
        payload = self._payload(member, inside, read)
        yield from writer.add(
            member.name, member.nbytes, payload, lambda: self._check_crc(member, read.value)
        )

    def _placed(self) -> Iterator[tuple[Member, list[list[TensorInfo]]]]:
        """The members in file order, each with the clusters of tensors in it."""
        waiting = clusters(self.tensors)
        cluster = next(waiting, None)
        for member in self._members.values():
            inside = []
            while cluster and cluster[0].offset < member.offset + member.nbytes:
                inside.append(cluster)
                cluster = next(waiting, None)
            yield member, inside

    def _payload(
        self, member: Member, inside: list[list[TensorInfo]], read: Checksum | None = None
    ) -> Callable[[Checksum], Iterable[Segment]]:
        """Return the function that makes a member's segments; it updates the checksums."""

        def payload(written: Checksum) -> Iterator[Segment]:
            position, stop = member.offset, member.offset + member.nbytes
            for cluster in inside:
                start = cluster[0].offset
                end = max(tensor.offset + tensor.nbytes for tensor in cluster)
                if start > position:
                    yield Extent(position, start - position, (), read, written)
                yield Extent(start, end - start, tuple(cluster), read, written)
                position = end
            if position < stop:
                yield Extent(position, stop - position, (), read, written)

        return payload

    def _check_crc(self, member: Member, crc: int) -> None:
        if crc != member.crc and not self._unchecked:
            raise FormatError(
                "wrong-checksum",
                f"member '{member.name}': expected checksum {member.crc:08x}, got {crc:08x}",
                "the file is damaged: copy, download or save it again",
            )

    def _alignment(self) -> int:
        """The alignment of payloads, which torch reads from a member to compute offsets."""
        if f"{self.root}/.storage_alignment" not in self._members:
            return 64
        text = self._read(".storage_alignment")
        value = int(text) if text.isdigit() else 0
        if value.bit_count() != 1 or value > 1 << 16:
            problem = f"the alignment {text[:20]!r} is not a power of two up to 65536"
            raise FormatError("alignment", problem)
        return value

    def _read(self, name: str) -> bytes:
        member = self._members.get(f"{self.root}/{name}")
        if member is None:
            raise FormatError("no-member", f"damaged .pt file: member '{name}' is missing")
        most = _MAX_BYTES.get(name, _MAX_SMALL_BYTES)
        if member.nbytes > most:
            problem = f"member '{name}' has {member.nbytes:,} bytes, more than {most:,}"
            raise FormatError("member-too-large", problem)
        data = self._reader.read(member.offset, member.nbytes)
        self._check_crc(member, isal_zlib.crc32(data))
        return data

    def _check_container(self) -> None:
        """Check the small members that describe the archive."""
        members = self._members.values()
        # torch writes zeros if it is configured to compute no checksums.
        self._unchecked = not any(member.crc for member in members)
        if self._unchecked and any(member.nbytes for member in members):
            self.notes.append("it was saved without checksums, so damage cannot be detected")
        if f"{self.root}/byteorder" in self._members and self._read("byteorder") != b"little":
            raise big_endian()
        for member in members:
            self._check_no_pickle(member)
        self._alignment()
        version = self._read("version").strip()
        if not version.isdigit() or not 1 <= int(version[:9]) <= 10:
            problem = f"version {version[:20]!r} of the .pt format is not supported (1 to 10 are)"
            raise FormatError("newer-version", problem)

    def _check_no_pickle(self, member: Member) -> None:
        """Raise FormatError for a second pickle: torch ignores it, but other programs may not."""
        name = member.name.partition("/")[2]
        if name == "data.pkl" or (name.startswith("data/") and not name.endswith(_PICKLES)):
            return
        first = self._reader.read(member.offset, min(member.nbytes, 2))
        if name.endswith(_PICKLES) or (first[:1] == b"\x80" and 2 <= first[-1] <= 5):
            problem = (
                f"member '{member.name}': it is a second pickle, which torch.save never writes"
            )
            raise FormatError("second-pickle", problem, _SAVE_AGAIN)

    def _info(self, found: FoundTensor) -> TensorInfo:
        unsupported = f"it is {found.special}" if found.special else None
        if found.storage is None:
            return TensorInfo(found.name, _UNKNOWN, found.shape, 0, 0, None, unsupported)
        member, dtype, numel = self._storage(found)
        layout = Layout(found.shape, found.strides)
        itemsize = dtype.bits // 8
        if found.offset + layout.span > numel:
            end = found.offset + layout.span
            problem = f"its {end:,} elements do not fit into a storage of {numel:,}"
            raise FormatError("outside-storage", f"tensor '{found.name}': {problem}")
        offset, nbytes = member.offset + found.offset * itemsize, layout.span * itemsize
        strided = None if layout.contiguous else layout
        return TensorInfo(found.name, dtype, found.shape, offset, nbytes, strided, unsupported)

    def _check_unused(self, reference: Reference) -> None:
        """Raise FormatError for an unused storage that is not a storage of torch."""
        self._storage(FoundTensor("(a storage)", reference.id))

    def _storage(self, found: FoundTensor) -> tuple[Member, Dtype, int]:
        """The member of a storage, its dtype and its number of elements."""
        match found.storage:
            case ("storage", Global() as kind, str() as key, _, int() as numel) if numel < 2**63:
                pass
            case _:
                problem = f"tensor '{found.name}': its storage is not one that torch writes"
                raise FormatError("damaged-storage", problem)
        member, name = self._members.get(f"{self.root}/data/{key}"), f"member 'data/{key}'"
        if member is None:
            raise FormatError("no-member", f"damaged .pt file: {name} is missing")
        if kind.module not in ("torch", "torch.storage"):
            raise FormatError("damaged-storage", f"{name}: {kind} is not a storage of torch")
        dtype, itemsize = dtype_and_size(kind)
        if found.dtype is not None:
            dtype = BY_TORCH_NAME.get(found.dtype, _UNKNOWN)
        known = dtype is not _UNKNOWN or kind.name in _ITEM_SIZES
        if known and numel * itemsize != member.nbytes:
            problem = f"{name}: expected {numel * itemsize:,} bytes, got {member.nbytes:,}"
            raise FormatError("wrong-size", problem)
        if self._kinds.setdefault(key, kind.name) != kind.name:
            problem = f"{name}: used as both {self._kinds[key]} and {kind.name}"
            raise FormatError("two-dtypes", problem)
        return member, dtype, member.nbytes * 8 // dtype.bits


def dtype_and_size(storage: Global) -> tuple[Dtype, int]:
    """The dtype of a storage class, and the size of its elements in bytes."""
    dtype = BY_STORAGE.get(storage.name, _UNKNOWN)
    return dtype, _ITEM_SIZES.get(storage.name, dtype.bits // 8)


def big_endian() -> FormatError:
    """The error for a file whose elements are in the other byte order."""
    problem = "the file is big-endian: save it on a little-endian machine"
    return FormatError("byte-order", problem)


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _root(members: Collection[str]) -> str:
    roots = {name.partition("/")[0] for name in members if "/" in name}
    inside = all("/" in name and ".." not in name.split("/") for name in members)
    if len(roots) != 1 or not inside or roots & {"", "."}:
        raise FormatError(
            "no-root",
            "its members are not in one top folder, as those of torch.save are",
            "if you packed it, pack the folder that holds data.pkl, not its contents",
        )
    return roots.pop()
