"""Zip archives as torch writes them: members are stored, and payloads are aligned to 64 bytes.

The standard library reads them. Archives that other readers could read differently are refused.
They are written here, because the checksum of a streamed payload is known only after it.
"""

import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from isal import isal_zlib

from dropcli.errors import FormatError
from dropcli.files import Reader
from dropcli.formats.base import INCOMPLETE, Checksum, Deferred, Segment, dump_entries

PROVENANCE = "dropcli.json"
_MAX_32 = 0xFFFFFFFF
_FLAGS = 0x0808  # names in UTF-8; checksum and sizes after the payload
_DATE = 0x21  # 1980-01-01: no time is recorded
_ENCRYPTED = 0x2041
_IS_FOLDER = 0x10
_LOCAL = struct.Struct("<4s5H3I2H")
_HEADER_BYTES = 512  # of the header and name of a member, in most archives
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")


@dataclass(frozen=True, slots=True)
class Member:
    """A stored file of the archive; its payload begins at byte `offset` of the source."""

    name: str
    offset: int
    nbytes: int
    crc: int


def read_members(reader: Reader) -> list[Member]:
    """Return the members in file order. Raises FormatError for a damaged or ambiguous archive."""
    assert reader.size is not None
    _end(reader)  # raises read errors, which zipfile would report as a damaged archive
    try:
        with reader.file() as file, zipfile.ZipFile(file) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, struct.error) as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise FormatError(
            "damaged-archive",
            f"damaged .pt file: its zip archive cannot be read ({reason})",
            INCOMPLETE,
        ) from None

    if not _is_sound(reader, len(infos)):
        raise FormatError(
            "doubtful-archive", "damaged .pt file: its zip directory contradicts itself"
        )
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise FormatError(
            "torchscript",
            "a TorchScript program, not a file of tensors",
            "if you trust it, save torch.jit.load(FILE).state_dict() with torch.save",
        )
    reader.expect((info.header_offset, _HEADER_BYTES) for info in infos)
    members: list[Member] = []
    end = 0
    for info in infos:
        if info.header_offset < end or (not end and info.header_offset):
            raise _ambiguous(info.filename, "it overlaps another member, or bytes precede it")
        member = _member(reader, info)
        end = member.offset + member.nbytes
        if not _is_folder(info):  # such entries have no content
            members.append(member)
    if end > reader.size:
        raise _ambiguous(infos[-1].filename, "it ends beyond the file")
    for name, count in Counter(member.name for member in members).items():
        if count > 1:
            raise _ambiguous(name, "it occurs more than once")
    return members


def trailing_bytes(reader: Reader) -> int:
    """The number of bytes after the archive, including its comment."""
    return (reader.size or 0) - _end(reader) - _END.size


def _end(reader: Reader) -> int:
    """The position of the archive's last record."""
    size = reader.size or 0
    start = max(0, size - _END.size - 0xFFFF)
    return start + reader.read(start, size - start).rfind(b"PK\5\6")


def _is_sound(reader: Reader, members: int) -> bool:
    """Whether all fields about the directory agree. Readers of zip files use different ones."""
    at = _end(reader)
    _, *disks, here, count, size, offset, _ = _END.unpack(reader.read(at, _END.size))
    far = at - _LOCATOR_64.size - _END_64.size
    if far >= 0:
        more = reader.read(far, at - far)
        record, locator = _END_64.unpack_from(more), _LOCATOR_64.unpack_from(more, _END_64.size)
        if locator[0] == b"PK\6\7":
            if locator[1:] != (0, far, 1) or record[:2] != (b"PK\6\6", 44):
                return False
            short = (here, count, size, offset)
            disks += record[4:6]
            here, count, size, offset = record[6:]
            mosts = (0xFFFF, 0xFFFF, _MAX_32, _MAX_32)
            if any(a not in (b, m) for a, b, m in zip(short, record[6:], mosts, strict=True)):
                return False
            at = far
    if any(disks) or not here == count == members or offset + size != at:
        return False
    entries, position = reader.read(offset, size), 0
    for _ in range(members):
        position += _CENTRAL.size
        if position > size:
            return False
        lengths: tuple[int, ...] = struct.unpack_from("<3H", entries, position - 18)
        position += sum(lengths)  # of the name and the fields after it
    return bool(position == size)


def _member(reader: Reader, info: zipfile.ZipInfo) -> Member:
    """Compare a member's own header with the directory: readers differ in which one they use."""
    if info.volume or (info.external_attr & _IS_FOLDER and not _is_folder(info)):
        raise _ambiguous(info.filename, "it is a folder, or lies in another part of the archive")
    if info.comment:
        raise _ambiguous(info.filename, "it has a comment, which could hide other members")
    if info.flag_bits & _ENCRYPTED:
        raise _ambiguous(info.filename, "it is encrypted")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise FormatError(
            "compressed-member",
            f"member '{info.filename}' is compressed, which torch.save never does",
            "unpack it and pack it with `zip -0r`, or load it with torch and save it again",
        )
    head = reader.read(info.header_offset, _LOCAL.size)
    signature, _, flags, method, _, _, crc, *sizes, name_size, extra_size = _LOCAL.unpack(head)
    name = reader.read(info.header_offset + _LOCAL.size, name_size)
    encoded = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
    late = flags & 8
    same = (signature, method, name) == (b"PK\3\4", 0, encoded) and flags == info.flag_bits
    if not same or not (late or (crc == info.CRC and {*sizes} <= {info.file_size, _MAX_32})):
        raise _ambiguous(info.filename, "its two zip headers differ")
    offset = info.header_offset + _LOCAL.size + name_size + extra_size
    return Member(info.filename, offset, info.file_size, info.CRC)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """Whether this is an entry for a folder, such as `zip -r` makes."""
    return info.filename.endswith("/") and not info.file_size and not info.CRC


Payload: TypeAlias = Callable[[Checksum], Iterable[Segment]]


def archive_of(
    root: str,
    pickled: bytes,
    storages: Iterable[tuple[str, int, Payload]],
    provenance: list[Any] | None,
) -> Iterator[Segment]:
    """Write an archive that torch can read. `storages` are their names, sizes and payloads."""
    writer = Writer()
    yield from writer.add_known(f"{root}/data.pkl", pickled)
    yield from writer.add_known(f"{root}/byteorder", b"little")
    for name, nbytes, payload in storages:
        yield from writer.add(name, nbytes, payload)
    yield from writer.add_known(f"{root}/version", b"3\n")
    if provenance is not None:
        yield from writer.add_known(f"{root}/{PROVENANCE}", dump_entries(provenance).encode())
    yield from writer.end()


def _ambiguous(name: str, problem: str) -> FormatError:
    return FormatError("doubtful-archive", f"member '{name}': {problem}")


class Writer:
    """Makes the segments of an archive: its members, then its directory."""

    def __init__(self, alignment: int = 64) -> None:
        self._alignment = alignment
        self._position = 0
        self._members: list[_Written] = []

    def add(
        self,
        name: str,
        nbytes: int,
        payload: Payload,
        verify: Callable[[], None] = lambda: None,
    ) -> Iterator[Segment]:
        """Add a streamed member; `payload` updates the checksum, and `verify` runs after it."""
        member = _Written(name.encode(), self._position, nbytes)
        self._members.append(member)

        def finish() -> bytes:
            verify()
            return member.descriptor()

        header, after = member.header(self._alignment), len(member.descriptor())
        yield header
        yield from payload(member.checksum)
        yield Deferred(after, finish)
        self._position += len(header) + nbytes + after

    def add_known(self, name: str, data: bytes) -> Iterator[Segment]:
        """Add a member that holds `data`."""

        def payload(checksum: Checksum) -> Iterator[Segment]:
            checksum.add(isal_zlib.crc32(data), len(data))
            yield data

        yield from self.add(name, len(data), payload)

    def end(self) -> Iterator[Segment]:
        """End the archive with the central directory."""
        yield Deferred(len(self._directory()), self._directory)

    def _directory(self) -> bytes:
        """The central directory and the end record."""
        entries = b"".join(member.entry() for member in self._members)
        count, size, position = len(self._members), len(entries), self._position
        tail = b""
        if count >= 0xFFFF or position >= _MAX_32 or size >= _MAX_32:
            fields = (b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, position)
            tail = _END_64.pack(*fields) + _LOCATOR_64.pack(b"PK\6\7", 0, position + size, 1)
        count, size, position = min(count, 0xFFFF), min(size, _MAX_32), min(position, _MAX_32)
        return entries + tail + _END.pack(b"PK\5\6", 0, 0, count, count, size, position, 0)


@dataclass(slots=True)
class _Written:
    """A member of the output; its checksum is complete once its payload is written."""

    name: bytes
    offset: int  # of its local header
    nbytes: int
    checksum: Checksum = field(default_factory=Checksum)

    def header(self, alignment: int) -> bytes:
        """The local header, padded so that the payload is aligned."""
        sizes = struct.pack("<2H2Q", 1, 16, *[self.nbytes] * 2) if self.nbytes >= _MAX_32 else b""
        padding = -(self.offset + _LOCAL.size + len(self.name) + len(sizes) + 4) % alignment
        extra = sizes + struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        size = _MAX_32 if sizes else 0
        fields = (b"PK\3\4", 0, _FLAGS, 0, 0, _DATE, 0, size, size, len(self.name), len(extra))
        return _LOCAL.pack(*fields) + self.name + extra

    def descriptor(self) -> bytes:
        """The record after the payload: checksum and size."""
        form = "<4sI2Q" if self.nbytes >= _MAX_32 else "<4s3I"
        return struct.pack(form, b"PK\7\10", self.checksum.value, self.nbytes, self.nbytes)

    def entry(self) -> bytes:
        """The member's record in the central directory."""
        values = [self.nbytes] * 2 if self.nbytes >= _MAX_32 else []
        values += [self.offset] if self.offset >= _MAX_32 else []
        extra = struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
        size = min(self.nbytes, _MAX_32)
        fields = (b"PK\1\2", 0, 0, _FLAGS, 0, 0, _DATE, self.checksum.value, size, size)
        rest = (len(self.name), len(extra), 0, 0, 0, 0, min(self.offset, _MAX_32))
        return _CENTRAL.pack(*fields, *rest) + self.name + extra
