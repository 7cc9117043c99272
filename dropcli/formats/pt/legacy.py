"""`.pt` files from before torch 1.6: five pickles, then the storages. Written as zip files.

The pickles are a magic number, a version, the writer's system, the object, and the keys of the
storages. Then each key has the number of its elements, in 8 bytes, and the elements.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dropcli.errors import FormatError
from dropcli.files import Reader
from dropcli.formats.base import INCOMPLETE, Segment
from dropcli.formats.pt.archive import Member, archive_of
from dropcli.formats.pt.rebuild import FoundTensor
from dropcli.formats.pt.records import Dict, Global, Loaded, MadeCall, Reference
from dropcli.formats.pt.rewrite import Rewriter, unused_part
from dropcli.formats.pt.safe_globals import check_globals
from dropcli.formats.pt.source import MAX_PICKLE_BYTES, PtSource, big_endian, dtype_and_size
from dropcli.formats.pt.unpickle import PickleParser
from dropcli.tensors import Dtype

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_FIRST_BYTES = 1 << 16  # enough for most pickles
_MOST_FOR_AN_OPCODE = 16  # bytes, unless it is a text
_KEY = re.compile(r"[\w-]{1,100}", re.ASCII)


class LegacySource(PtSource):
    """An open legacy file. Raises FormatError if it is damaged, unsafe, or big-endian."""

    format = "legacy-pt"

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """Write the content as a zip archive."""
        storages = (
            (member.name, member.nbytes, self._payload(member, inside))
            for member, inside in self._placed()
        )
        yield from archive_of(self.root, self._pickled, storages, provenance)

    def verify(self) -> None:
        """Do nothing: the format has no checksums."""

    def _load(self) -> Loaded:
        self.root = "archive"
        self.notes.append("the file is from before torch 1.6; it is written as a zip file")
        pickles = _Pickles(self._reader)
        self._members = {}
        end = pickles.end
        counts = {reference.id[2]: reference.id for reference in reversed(pickles.references)}
        for key in pickles.keys:
            end = self._add_member(key, counts.pop(key, None), end)
        if counts:
            problem = "damaged .pt file: some of its storages are missing"
            raise FormatError("no-storage", problem)
        if end > self.size:
            problem = f"the file has {self.size:,} bytes, but its storages end at {end:,}"
            raise FormatError("truncated-data", problem, INCOMPLETE)
        if end < self.size:
            self.notes.append(f"{self.size - end:,} bytes after its storages are left out")
        self._pickled = pickles.rewritten
        return Loaded(pickles.record, pickles.globals, pickles.calls, pickles.references, 0)

    def _add_member(self, key: str, reference: Any, position: int) -> int:
        """Add the storage at this position of the file; return the position after it."""
        if reference is None:
            raise _damaged("a storage belongs to no tensor, or two storages have one key")
        _, kind, _, _, numel, _ = reference
        if not _KEY.fullmatch(key) or numel < 0:
            raise _damaged("the id of a storage is not one that torch writes")
        count = int.from_bytes(self._reader.read(position, 8), "little", signed=True)
        name = f"{self.root}/data/{key}"
        if count != numel:
            problem = f"member 'data/{key}': expected {numel:,} elements, got {count:,}"
            raise FormatError("wrong-size", problem)
        member = Member(name, position + 8, count * dtype_and_size(kind)[1], 0)
        self._members[name] = member
        return member.offset + member.nbytes

    def _pickle(self) -> bytes:
        return self._pickled

    def _entries(self) -> list[Any]:
        return []

    def _check_unused(self, reference: Reference) -> None:
        if reference.id[5] is not None:
            raise unused_part()
        super()._check_unused(reference)

    def _storage(self, found: FoundTensor) -> tuple[Member, Dtype, int]:
        *whole, view = found.storage
        member, dtype, numel = super()._storage(replace(found, storage=tuple(whole)))
        if view is not None:
            numel = min(numel, view[1] + view[2])
        return member, dtype, numel


class _Pickles:
    """The pickles at the start of a file. Only as much is read as they need."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._size = reader, reader.size or 0
        self._most = min(self._size, MAX_PICKLE_BYTES)
        self._data = reader.read(0, min(self._most, _FIRST_BYTES))
        self._names: dict[Global, None] = {}
        self.calls: list[MadeCall] = []
        self.end = 0
        self._read()

    def _read(self) -> None:
        """Read the pickles, and check all except the object."""
        magic, version, system = (
            self._run(PickleParser(self._data, self.end, whole=True)) for _ in range(3)
        )
        rewriter = Rewriter(self._data, self.end)
        self.record = self._run(rewriter)
        self.references = rewriter.references
        self.keys = self._run(PickleParser(self._data, self.end, whole=True))
        self.globals = [*self._names]
        check_globals(self.globals)
        if magic != _MAGIC or type(version) is not int:
            raise _damaged("it does not begin as torch writes it")
        if version != _VERSION:
            problem = f"version {version} of the legacy .pt format is not supported"
            raise FormatError("newer-version", problem)
        if isinstance(system, Dict) and ("little_endian", False) in system.pairs:
            raise big_endian()
        if not (isinstance(self.keys, list) and all(isinstance(key, str) for key in self.keys)):
            raise _damaged("the keys of its storages are not a list of strings")
        self.rewritten = rewriter.rewritten()

    def _run(self, parser: PickleParser) -> Any:
        while True:
            parser.size = self._size
            try:
                value = parser.run()
            except FormatError as error:
                self._read_more(parser, error)
                parser = parser.retry(self._data)
            else:
                break
        self.end = parser.at
        self._names |= parser.globals
        self.calls += parser.calls
        return value

    def _read_more(self, parser: PickleParser, error: FormatError) -> None:
        """Read bytes that the parser lacked; raise the error if it failed for another reason."""
        count = len(self._data)
        needed = max(parser.needed, parser.at + _MOST_FOR_AN_OPCODE)
        if error.code != "damaged-pickle" or needed <= count:
            raise error
        if needed > self._size or count == self._size:
            problem = f"the file ends within its pickles, after {self._size:,} bytes"
            raise FormatError("truncated-data", problem, INCOMPLETE) from None
        if count == self._most:
            problem = f"its pickles have more than {self._most:,} bytes"
            raise FormatError("member-too-large", problem) from None
        more = min(self._most, max(needed, 4 * count)) - count
        self._data += self._reader.read(count, more)


def _damaged(problem: str) -> FormatError:
    return FormatError("damaged-legacy", f"damaged .pt file: {problem}")
