"""Read pickles without executing them.

A pickle is a program for a stack machine that imports and calls any function it names. This
machine builds inert records instead: a `Global` for an import, a `Call` for a call. It imports,
calls and hashes nothing on behalf of the file, and allocates no more than the file holds.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from dropcli.errors import FormatError

_FEW_OBJECTS = 400_000
_BYTES_PER_OBJECT = 8
_MAX_LONG_BYTES = 1024
_MAX_DIGITS = 1000  # of a decimal integer, since conversion takes quadratic time


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_ENCODE = Global("_codecs", "encode")
_LATIN_1 = (("latin1",), ("latin-1",))


@dataclass(eq=False, slots=True)
class Call:
    """An object that unpickling would make by a call, with its state, items and pairs."""

    function: Any
    arguments: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Dict:
    """A dict as a list of pairs, since hashing a key could run code."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Reference:
    """A persistent id, with which torch names a storage beside the pickle."""

    id: Any


class Loaded(NamedTuple):
    """The content of a pickle, all names and references in it, and the bytes that follow it."""

    record: Any
    globals: list[Global]
    references: list[Reference]
    rest: int


def load(data: bytes, count: int = 1) -> Loaded:
    """The content of the last of `count` consecutive pickles.

    Raises FormatError for a damaged pickle, and for opcodes that no tensor file needs.
    """
    machine = _Machine(data)
    for _ in range(count - 1):
        machine.run()
    record = machine.run()
    return Loaded(record, list(machine.globals), machine.references, machine.rest())


class _Machine:
    """The pickle machine, protocols 0 to 5, one method for each group of opcodes."""

    def __init__(self, data: bytes) -> None:
        self.globals: dict[Global, None] = {}
        self.references: list[Reference] = []
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stack below each open mark
        self._memo: dict[int, Any] = {}
        self._room = _FEW_OBJECTS + len(data) // _BYTES_PER_OBJECT

    def run(self) -> Any:
        try:
            self._stack, self._outer, self._memo = [], [], {}
            while (code := self.take(1)) != b".":
                _OPCODES[code](self)
            return self.pop()
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error):
            self.damaged()

    def rest(self) -> int:
        return len(self._data) - self._at

    def damaged(self) -> NoReturn:
        size = len(self._data)
        raise FormatError(
            "damaged-pickle",
            f"its pickle is damaged at byte {self._at:,} of {size:,}",
        )

    # Steps shared by the opcodes.

    def take(self, count: int) -> bytes:
        """The next `count` bytes; FormatError if there are fewer."""
        end = self._at + count
        if end > len(self._data):
            self.damaged()
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, form: str) -> Any:
        value = struct.unpack_from(form, self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def line(self) -> str:
        end = self._data.index(b"\n", self._at)
        return self.take(end + 1 - self._at)[:-1].decode()

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def top(self) -> Any:
        return self._stack[-1]

    def push_new(self, value: Any) -> None:
        """Push a container; only a hostile file makes too many from few bytes."""
        self._room -= 1
        if self._room < 0:
            raise FormatError(
                "too-many-objects", "its pickle makes far more objects than it has bytes"
            )
        self._stack.append(value)

    def open_mark(self) -> None:
        self._room -= 1
        if self._room < 0:
            self.damaged()
        self._outer.append(self._stack)
        self._stack = []

    def close_mark(self) -> list[Any]:
        """Everything pushed since the mark."""
        items = self._stack
        self._stack = self._outer.pop()
        return items

    def remember(self, index: int) -> None:
        self._memo[index] = self.top()

    def remember_next(self) -> None:
        self.remember(len(self._memo))

    def recall(self, index: int) -> None:
        self.push(self._memo[index])

    # The opcodes that do more than push a constant.

    def integer(self, text: str) -> int:
        if len(text) > _MAX_DIGITS:
            self.damaged()
        return int(text)

    def push_int_line(self) -> None:
        text = self.line()
        self.push(
            {"00": False, "01": True}.get(text) if text in ("00", "01") else self.integer(text)
        )

    def push_long(self, size: int) -> None:
        data = self.take(size)
        # Tensors need no longer ones; as bytes they cost nothing to convert or to print.
        small = size <= _MAX_LONG_BYTES
        self.push(int.from_bytes(data, "little", signed=True) if small else data)

    def push_string_line(self) -> None:
        self.push(self.line()[1:-1])

    def push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            self.damaged()
        found = Global(module, name)
        self.globals[found] = None
        self.push(found)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def reference(self) -> None:
        """A storage or, in a legacy file, the source of a module: torch writes no others."""
        match self.pop():
            case ("storage", Global(), str(), _, int(), *_) | ("module", _, _, _) as found:
                self.references.append(Reference(found))
                self.push_new(self.references[-1])
            case _:
                self.damaged()

    def push_call(self, function: Any, arguments: Any) -> None:
        if not (isinstance(arguments, tuple) and isinstance(function, Global | Call)):
            self.damaged()
        # Old protocols store bytes so. Other codecs may unpack bombs or run registered code.
        if function == _ENCODE and arguments[1:] not in _LATIN_1:
            problem = "its pickle could run code: it calls a codec other than latin1"
            raise FormatError("program-in-data", problem)
        self.push_new(Call(function, arguments))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.push_call(function, arguments)

    def new_object_with_keywords(self) -> None:
        keywords, arguments, cls = self.pop(), self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            self.damaged()
        self.push_new(Call(cls, arguments, pairs=list(keywords.pairs)))

    def instance(self) -> None:
        self.push_global(self.line(), self.line())
        cls, arguments = self.pop(), self.close_mark()
        self.push_call(cls, tuple(arguments))

    def object(self) -> None:
        cls, *arguments = self.close_mark()
        self.push_call(cls, tuple(arguments))

    def build(self) -> None:
        state, built = self.pop(), self.top()
        if not isinstance(built, Call):
            self.damaged()
        built.state = state if built.state is None else (built.state, state)

    def tuple_of(self, count: int) -> None:
        items = self._stack[-count:]
        if len(items) < count:
            self.damaged()
        del self._stack[-count:]
        self.push_new(tuple(items))

    def append_all(self, items: list[Any]) -> None:
        target = self.top()
        (target if isinstance(target, list) else target.items).extend(items)

    def set_all(self, items: list[Any]) -> None:
        if len(items) % 2:
            self.damaged()
        self.top().pairs.extend(zip(items[::2], items[1::2], strict=True))

    def append_one(self) -> None:
        item = self.pop()
        self.append_all([item])

    def set_one(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_all([key, value])

    def dict_of_marked(self) -> None:
        items = self.close_mark()
        self.push_new(Dict())
        self.set_all(items)

    def extension(self) -> None:
        raise FormatError(
            "pickle-extension",
            f"its pickle uses an extension code at byte {self._at:,}",
            "only the program that registered it can read this file",
        )


# Named as in the standard library's `pickletools`. Sets become lists, which hash nothing.
_OPCODES: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME
    b"(": _Machine.open_mark,  # MARK
    b"0": lambda m: m.pop() if m._stack else m.close_mark(),  # POP
    b"1": _Machine.close_mark,  # POP_MARK
    b"2": lambda m: m.push(m.top()),  # DUP
    b"N": lambda m: m.push(None),  # NONE
    b"\x88": lambda m: m.push(True),  # NEWTRUE
    b"\x89": lambda m: m.push(False),  # NEWFALSE
    b"I": _Machine.push_int_line,  # INT
    b"J": lambda m: m.push(m.number("<i")),  # BININT
    b"K": lambda m: m.push(m.number("<B")),  # BININT1
    b"M": lambda m: m.push(m.number("<H")),  # BININT2
    b"L": lambda m: m.push(m.integer(m.line().removesuffix("L"))),  # LONG
    b"\x8a": lambda m: m.push_long(m.number("<B")),  # LONG1
    b"\x8b": lambda m: m.push_long(m.number("<I")),  # LONG4
    b"F": lambda m: m.push(float(m.line())),  # FLOAT
    b"G": lambda m: m.push(m.number(">d")),  # BINFLOAT
    b"S": _Machine.push_string_line,  # STRING
    b"T": lambda m: m.push(m.take(m.number("<I"))),  # BINSTRING
    b"U": lambda m: m.push(m.take(m.number("<B"))),  # SHORT_BINSTRING
    b"B": lambda m: m.push(m.take(m.number("<I"))),  # BINBYTES
    b"C": lambda m: m.push(m.take(m.number("<B"))),  # SHORT_BINBYTES
    b"\x8e": lambda m: m.push(m.take(m.number("<Q"))),  # BINBYTES8
    b"\x96": lambda m: m.push(m.take(m.number("<Q"))),  # BYTEARRAY8
    b"V": lambda m: m.push(m.line()),  # UNICODE
    b"X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),  # BINUNICODE
    b"\x8c": lambda m: m.push(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"]": lambda m: m.push_new([]),  # EMPTY_LIST
    b"l": lambda m: m.push_new(m.close_mark()),  # LIST
    b"a": _Machine.append_one,  # APPEND
    b"e": lambda m: m.append_all(m.close_mark()),  # APPENDS
    b")": lambda m: m.push(()),  # EMPTY_TUPLE
    b"t": lambda m: m.push_new(tuple(m.close_mark())),  # TUPLE
    b"\x85": lambda m: m.tuple_of(1),  # TUPLE1
    b"\x86": lambda m: m.tuple_of(2),  # TUPLE2
    b"\x87": lambda m: m.tuple_of(3),  # TUPLE3
    b"}": lambda m: m.push_new(Dict()),  # EMPTY_DICT
    b"d": _Machine.dict_of_marked,  # DICT
    b"s": _Machine.set_one,  # SETITEM
    b"u": lambda m: m.set_all(m.close_mark()),  # SETITEMS
    b"\x8f": lambda m: m.push_new([]),  # EMPTY_SET
    b"\x90": lambda m: m.append_all(m.close_mark()),  # ADDITEMS
    b"\x91": lambda m: m.push_new(m.close_mark()),  # FROZENSET
    b"g": lambda m: m.recall(m.integer(m.line())),  # GET
    b"h": lambda m: m.recall(m.number("<B")),  # BINGET
    b"j": lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    b"p": lambda m: m.remember(m.integer(m.line())),  # PUT
    b"q": lambda m: m.remember(m.number("<B")),  # BINPUT
    b"r": lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    b"\x94": _Machine.remember_next,  # MEMOIZE
    b"c": lambda m: m.push_global(m.line(), m.line()),  # GLOBAL
    b"\x93": _Machine.stack_global,  # STACK_GLOBAL
    b"P": _Machine.damaged,  # PERSID: its text cannot name a storage
    b"Q": _Machine.reference,  # BINPERSID
    b"R": _Machine.reduce,  # REDUCE
    b"\x81": _Machine.reduce,  # NEWOBJ
    b"\x92": _Machine.new_object_with_keywords,  # NEWOBJ_EX
    b"i": _Machine.instance,  # INST
    b"o": _Machine.object,  # OBJ
    b"b": _Machine.build,  # BUILD
    b"\x82": _Machine.extension,  # EXT1
    b"\x83": _Machine.extension,  # EXT2
    b"\x84": _Machine.extension,  # EXT4
}
