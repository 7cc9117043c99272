"""Rewrite the pickle of a legacy file as torch reads it from a zip file.

Opcodes are copied, with these changes:

* The id of a storage loses its sixth part, which is the position in another storage. The offset
  of the tensor, which follows the id, grows by that position.
* The id of a storage gets the device "cpu", because not all machines have other devices.
* The id of a module's class, with its source code, becomes the class.
* Strings of Python 2 become Unicode, and decimal numbers binary.
* FRAME is removed, because lengths change. MEMOIZE becomes a numbered PUT, because strings may be
  removed.
"""

import struct
from array import array
from typing import Any, NamedTuple

from dropcli.errors import FormatError
from dropcli.formats.pt.records import Global, Reference
from dropcli.formats.pt.unpickle import OPCODES, STOP, PickleParser, max_objects

_ID_PARTS = 6
_SHORT_STRING, _STRING = ord("U"), ord("T")
_DECIMALS = (ord("I"), ord("L"))
_NUMBERS = (*_DECIMALS, ord("J"), ord("K"), ord("M"), 0x8A)
_FRAME, _MEMOIZE, _TUPLE = 0x95, 0x94, ord("t")
_MAX_LONG_BYTES = 255


def pickled_text(value: str) -> bytes:
    """The opcode that pushes a string."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def pickled_int(value: int) -> bytes:
    """The opcode that pushes an integer of up to 255 bytes."""
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + struct.pack("<B", len(data)) + data


class _Edit(NamedTuple):
    start: int
    end: int
    data: bytes
    decoded: bool = False  # from a string of Python 2


class _Tuple(NamedTuple):
    """The last tuple: its first opcode, the end of each of its parts, and its last opcode."""

    value: Any = None
    start: int = 0
    ends: tuple[int, ...] = ()
    end: int = 0


class Rewriter(PickleParser):
    """Parses the pickle at byte `at` of the data, and records the edits to it."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data, at)
        self._opcode = at
        self._edits: list[_Edit] = []
        self._ends: list[list[int]] = [[at] * (_ID_PARTS + 1)]  # of the values above each open mark
        # The opcode of the last mark, and its ends.
        self._closed: tuple[int, tuple[int, ...]] = (at, ())
        self._tuple = _Tuple()
        # Positions and memo numbers of PUT opcodes since the last id.
        self._put_at, self._put = array("q"), array("q")
        self._removed_memo: set[int] = set()  # memo numbers of values that were removed
        self._last_id = at
        self._shift = 0
        self._views: dict[str, Any] = {}
        self._all_decoded = True

    def rewritten(self) -> bytes:
        """Return the pickle for a zip file, after `run`."""
        data, at = memoryview(self.data), self._start
        parts: list[bytes | memoryview] = []
        for edit in self._edits:
            # If some strings are not UTF-8, the user chooses one encoding for all when loading.
            if edit.decoded and not self._all_decoded and not edit.data[5:].isascii():
                continue
            parts += [data[at : edit.start], edit.data]
            at = edit.end
        return b"".join([*parts, data[at : self.at]])

    def retry(self, data: bytes) -> "Rewriter":
        """Continue with more data at the same opcode.

        Opcodes read their operands before they act.
        """
        if self._framed:  # a whole frame is read before it begins
            self.damaged()
        self._objects_left += max_objects(data) - max_objects(self.data)
        self.data = data
        self.at, self.needed = self._opcode, 0
        return self

    def execute(self, end: int) -> None:
        """Run opcodes, and record where the first values above each mark end."""
        data, edits = self.data, _EDITS
        while self.at < end and (code := data[self.at]) != STOP:
            self._opcode, shift = self.at, self._shift
            self.at += 1
            OPCODES[code](self)
            if code in edits:
                edits[code](self)
            if shift and code != _FRAME:
                self._add_to_offset(code, shift)
            if 0 < len(self.stack) <= _ID_PARTS:
                self._ends[-1][len(self.stack) - 1] = self.at
        self._opcode = self.at

    def frame(self) -> None:
        self._edit(b"", self.at + 8)
        super().frame()

    def open_mark(self) -> None:
        super().open_mark()
        self._ends.append([self._opcode] * (_ID_PARTS + 1))

    def close_mark(self) -> list[Any]:
        items = super().close_mark()
        ends = self._ends.pop()
        self._closed = (ends[-1], tuple(ends[:-1]))
        return items

    def remember(self, index: int) -> None:
        if not 0 <= index < 1 << 32:
            self.damaged()
        super().remember(index)
        self._note_put(index)

    def _note_put(self, index: int) -> None:
        self._put_at.append(self._opcode)
        self._put.append(index)
        if self._removed_memo:
            self._removed_memo.discard(index)

    def recalled(self, index: int) -> Any:
        value = super().recalled(index)
        if index in self._removed_memo:
            if not isinstance(value, str):
                self.damaged()
            self._edit(pickled_text(value) + b"r" + struct.pack("<I", index))
            self._note_put(index)
        return value

    def reference(self) -> None:
        """Rewrite the id of a storage, of a part of another storage, or of a module's class."""
        found, made = self.pop(), self._tuple
        if made.value is not found or made.start < self._last_id:
            self.damaged()
        match found:
            case ("module", Global() as cls, _, _):
                self._remove(made.start, made.ends[0])
                self._remove(made.ends[1], self.at)
                self.push(cls)
            case ("storage", Global(), str(), _, int(), None):
                self._push_storage(found)
            case ("storage", Global(), str(), _, int(), (str(), int(), int())):
                self._push_storage(found)
                self._note_view(found)
            case _:
                self.damaged()
        del self._put_at[:], self._put[:]
        self._last_id = self.at

    def _push_storage(self, found: Any) -> None:
        ends = self._tuple.ends
        if found[3] != "cpu":
            self._remove(ends[2], ends[3], pickled_text("cpu"))
        self._remove(ends[4], self._tuple.end)
        self.references.append(Reference(found))
        self.push_new(self.references[-1])

    def _note_view(self, found: Any) -> None:
        """Check a part of a storage: its key, by which torch finds it, must mean one part."""
        _, _, root, _, numel, (key, offset, count) = found
        if self._views.setdefault(key, (root, offset, count)) != (root, offset, count):
            self.damaged()
        if not 0 <= offset <= offset + count <= numel:
            self.damaged()
        self._shift = offset

    def _add_to_offset(self, code: int, shift: int) -> None:
        """Add the position of a part of a storage to the number that follows its id."""
        value = self.stack[-1]
        if code not in _NUMBERS or type(value) is not int:
            raise unused_part()
        if value < 0:  # before its part, even if inside the whole storage
            self.damaged()
        self.stack[-1] = value + shift
        self._edit(pickled_int(value + shift))
        self._shift = 0

    def _edit(self, data: bytes, end: int | None = None, *, decoded: bool = False) -> None:
        """Replace the current opcode, and any earlier edit of it."""
        if self._edits and self._edits[-1].start == self._opcode:
            self._edits.pop()
        self._edits.append(_Edit(self._opcode, end or self.at, data, decoded))

    def _remove(self, start: int, end: int, instead: bytes = b"") -> None:
        """Remove these opcodes, and any edits of them."""
        after = []
        while self._edits and self._edits[-1].start >= start:
            edit = self._edits.pop()
            if edit.start >= end:
                after.append(edit)
        self._edits.append(_Edit(start, end, instead))
        self._edits += reversed(after)
        for opcode, index in zip(reversed(self._put_at), reversed(self._put), strict=True):
            if opcode < start:
                break
            if opcode < end:
                self._removed_memo.add(index)

    def _decode(self) -> None:
        """Rewrite a string of Python 2 as Unicode if it is UTF-8; otherwise leave it unchanged."""
        if isinstance(self.stack[-1], str):
            self._edit(pickled_text(self.stack[-1]), decoded=True)
        else:
            self._all_decoded = False

    def _in_binary(self) -> None:
        value = self.stack[-1]
        if isinstance(value, bool):
            self._edit(b"\x88" if value else b"\x89")
        elif value.bit_length() < 8 * _MAX_LONG_BYTES:
            self._edit(pickled_int(value))

    def _number_memo(self) -> None:
        self._edit(b"r" + struct.pack("<I", self._put[-1]))

    def _note_tuple(self) -> None:
        self._tuple = _Tuple(self.stack[-1], *self._closed, self._opcode)


def unused_part() -> FormatError:
    """The error for a part of a storage without a tensor, which a zip file cannot store."""
    return FormatError(
        "unreadable-legacy",
        "it holds a part of a storage that belongs to no tensor",
        "if you trust it, load it with torch and save it again",
    )


_EDITS = {
    _SHORT_STRING: Rewriter._decode,
    _STRING: Rewriter._decode,
    _MEMOIZE: Rewriter._number_memo,
    _TUPLE: Rewriter._note_tuple,
    **dict.fromkeys(_DECIMALS, Rewriter._in_binary),
}
