"""Read pickles without executing them.

A pickle is a program for a stack machine that imports and calls any function it names. This
machine builds inert records instead: a `Global` for an import, a `Call` for a call. It imports,
calls and hashes nothing on behalf of the file, and allocates no more than the file holds. Of long
lists and dicts it keeps what may lead to tensors, so that memory follows the tensors.
"""

import codecs
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from dropcli.errors import FormatError
from dropcli.formats.pt.records import LONG, PARTS, Call, Dict, Global, Loaded, MadeCall, Reference

_FEW_OBJECTS = 400_000
_BYTES_PER_OBJECT = 8
_MAX_LONG_BYTES = 1024
_MAX_DIGITS = 1000  # of a decimal integer, since conversion takes quadratic time
_MAX_LINE = 1 << 20  # bytes


_ENCODE = Global("_codecs", "encode")
# Their functions call nothing, and most calls are of them.
_PLAIN = {"torch._utils", "collections", "numpy.core.multiarray", "numpy._core.multiarray"}
# What these give belongs to others as well, be it a module or a class.
_SHARED = {
    *(Global(module, "getattr") for module in ("builtins", "__builtin__")),
    *(Global(module, "type") for module in ("builtins", "__builtin__")),
    Global("logging", "getLogger"),
    Global("torch.jit._pickle", "restore_type_tag"),
}
_PARTIAL = {Global("functools", "partial"), Global("_functools", "partial")}
_LATIN_1 = (("latin1",), ("latin-1",))


def load(data: bytes) -> Loaded:
    """The content of a pickle, and what all pickles that follow it name and call.

    Raises FormatError for a damaged pickle, and for opcodes that no tensor file needs.
    """
    machine = Machine(data)
    record = machine.run()
    globals_, calls, at = machine.globals, machine.calls, machine.at
    with suppress(FormatError):  # of bytes that are no pickle
        while at < len(data):
            more = Machine(data, at)
            more.globals, more.calls = globals_, calls
            more.run()
            at = more.at
    return Loaded(record, list(globals_), calls, machine.references, len(data) - machine.at)


def room_for(data: bytes) -> int:
    """How many objects a pickle of so many bytes may make."""
    return _FEW_OBJECTS + len(data) // _BYTES_PER_OBJECT


class Machine:
    """The pickle machine, protocols 0 to 5, one method for each group of opcodes.

    It reads the pickle at byte `at` of the data, the first of `size` bytes. `whole`: plain values
    of long containers stay.
    """

    def __init__(self, data: bytes, at: int = 0, *, whole: bool = False) -> None:
        self.globals: dict[Global, None] = {}
        self.calls: list[MadeCall] = []
        self.references: list[Reference] = []
        self.at = self._start = at
        self.needed = 0  # bytes of data, if there were too few
        self.data, self.size = data, len(data)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stack below each open mark
        self.memo: list[Any] = []
        self._far: dict[int, Any] = {}  # memo entries whose numbers do not follow each other
        self._whole = whole
        self._noted: set[Global] = set()  # functions that were called with plain arguments
        self._framed = False  # within a frame
        self._room = room_for(data)

    def run(self) -> Any:
        """The object that the pickle describes; `at` is then the byte after it."""
        try:
            self.execute(len(self.data))
            self.take(1)
            return self.pop()
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error):
            self.damaged()

    def again(self, data: bytes) -> "Machine":
        """A machine for more data, after there were too few."""
        return Machine(data, self._start, whole=self._whole)

    def execute(self, end: int) -> None:
        """Run the opcodes before byte `end`, or before the last of the pickle."""
        data = self.data
        while self.at < end and (code := data[self.at]) != STOP:
            self.at += 1
            OPCODES[code](self)

    def damaged(self) -> NoReturn:
        problem = f"its pickle is damaged at byte {self.at:,} of {self.size:,}"
        raise FormatError("damaged-pickle", problem)

    # Steps shared by the opcodes.

    def take(self, count: int) -> bytes:
        """The next `count` bytes; FormatError if there are fewer."""
        end = self.at + count
        if end > len(self.data):
            self.needed = end
            self.damaged()
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, form: struct.Struct) -> Any:
        value = form.unpack_from(self.data, self.at)[0]
        self.at += form.size
        return value

    def line(self) -> str:
        return self.line_of_bytes().decode()

    def line_of_bytes(self) -> bytes:
        most = self.at + _MAX_LINE
        end = self.data.find(b"\n", self.at, most)
        if end < 0:
            self.needed = len(self.data) + 1 if len(self.data) < most else 0
            self.damaged()
        return self.take(end + 1 - self.at)[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def top(self) -> Any:
        return self.stack[-1]

    def push_new(self, value: Any) -> None:
        """Push a container; only a hostile file makes too many from few bytes."""
        self._room -= 1
        if self._room < 0:
            raise FormatError(
                "too-many-objects", "its pickle makes far more objects than it has bytes"
            )
        self.stack.append(value)

    def open_mark(self) -> None:
        self._room -= 1
        if self._room < 0:
            self.damaged()
        self.outer.append(self.stack)
        self.stack = []

    def close_mark(self) -> list[Any]:
        """Everything pushed since the mark."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def remember(self, index: int) -> None:
        memo = self.memo
        if index == len(memo):
            memo.append(self.stack[-1])
            self._far.pop(index, None)
        elif 0 <= index < len(memo):
            memo[index] = self.stack[-1]
        else:
            self._far[index] = self.stack[-1]

    def remember_next(self) -> None:
        self.remember(len(self.memo) + len(self._far))

    def recalled(self, index: int) -> Any:
        return self.memo[index] if 0 <= index < len(self.memo) else self._far[index]

    # The opcodes that do more than push a constant.

    def frame(self) -> None:
        """Run the opcodes of a frame: where one does not end with it, readers differ."""
        end = self.number(_U8) + self.at
        if self._framed or end > len(self.data):
            self.needed = end
            self.damaged()
        self._framed = True
        self.execute(end)
        self._framed = False
        if self.at > end:
            self.damaged()

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
        """A string in quotes, in which an escape can stand for any character."""
        quoted = self.line_of_bytes()
        if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[:1] not in (b"'", b'"'):
            self.damaged()
        self.push_string(codecs.escape_decode(quoted[1:-1])[0])

    def push_text_line(self) -> None:
        self.push(self.line_of_bytes().decode("raw-unicode-escape"))

    def push_string(self, data: bytes) -> None:
        """A string of Python 2: torch reads it as UTF-8."""
        try:
            self.push(data.decode())
        except UnicodeDecodeError:
            self.push(data)

    def push_text(self, size: int) -> None:
        self.stack.append(self.take(size).decode("utf-8", "surrogatepass"))

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
        """A storage: torch writes no others."""
        match self.pop():
            case ("storage", Global(), str(), _, int(), *_) as found:
                self.references.append(Reference(found))
                self.push_new(self.references[-1])
            case _:
                self.damaged()

    def text_reference(self) -> NoReturn:
        """A storage by protocol 0, whose ids are texts: torch writes them and cannot read them."""
        problem = "it was saved with pickle protocol 0, from which torch cannot load tensors"
        raise FormatError("unsupported-format", problem, "save it again with protocol 2")

    def push_call(self, function: Any, arguments: Any) -> None:
        if not (isinstance(arguments, tuple) and isinstance(function, Global | Call)):
            self.damaged()
        # Old protocols store bytes so. Other codecs may unpack bombs or run registered code.
        if function == _ENCODE and arguments[1:] not in _LATIN_1:
            problem = "its pickle could run code: it calls a codec other than latin1"
            raise FormatError("program-in-data", problem)
        self._note(function, arguments)
        self.push_new(Call(function, arguments))

    def _note(self, function: Any, arguments: Any) -> None:
        """Keep a call to be judged; of those with plain arguments, one for each function."""
        if isinstance(function, Global):
            if function.module in _PLAIN and not any(
                type(part) is Call and part.state is not None for part in arguments
            ):
                return
            if not any(type(part) in PARTS or type(part) is Global for part in arguments):
                if function in self._noted:
                    return
                self._noted.add(function)
        self.calls.append(MadeCall(function, arguments))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.push_call(function, arguments)

    def new_object(self) -> None:
        arguments, cls = self.pop(), self.pop()
        if isinstance(cls, Global) and arguments == ():  # an instance, whatever its class is
            self.push_new(Call(cls, arguments))
        else:
            self.push_call(cls, arguments)

    def new_object_with_keywords(self) -> None:
        keywords, arguments, cls = self.pop(), self.pop(), self.pop()
        if not (isinstance(arguments, tuple) and isinstance(cls, Global | Call)):
            self.damaged()
        self._note(cls, (*arguments, *(value for _, value in keywords.pairs)))
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
        if built.function in _SHARED:
            problem = f"its pickle could run code: it changes what {built.function} gives"
            raise FormatError("program-in-data", problem)
        if built.function in _PARTIAL:  # which it gives another function
            self._note(built.function, (state,))
        if built.state is not None:
            self.changed_twice()
        built.state = state

    def changed_twice(self) -> NoReturn:
        """What an object's state says is in use if more is done to it, but pickles end with it."""
        problem = "its pickle could run code: it changes an object that is complete"
        raise FormatError("program-in-data", problem)

    def tuple_of(self, count: int) -> None:
        items = self.stack[-count:]
        if len(items) < count:
            self.damaged()
        del self.stack[-count:]
        self.push_new(tuple(items))

    def append_all(self, items: list[Any]) -> None:
        top = self.top()
        if type(top) is Call and top.state is not None:
            self.changed_twice()
        target = top if isinstance(top, list) else top.items
        room = len(items) if self._whole else max(0, LONG - len(target))
        target += items[:room]
        target += [item if type(item) in PARTS else None for item in items[room:]]

    def set_all(self, items: list[Any]) -> None:
        if len(items) % 2:
            self.damaged()
        top = self.top()
        if type(top) is Call and top.state is not None:
            self.changed_twice()
        target = top.pairs
        pairs = list(zip(items[::2], items[1::2], strict=True))
        room = len(pairs) if self._whole else max(0, LONG - len(target))
        target += pairs[:room]
        target += _telling(pairs[room:])

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
            f"its pickle uses an extension code at byte {self.at:,}",
            "only the program that registered it can read this file",
        )


def _telling(pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The pairs whose values tensors can be in, and the first of the others."""
    plain = False
    for pair in pairs:
        if type(pair[1]) in PARTS or not plain:
            plain = plain or type(pair[1]) not in PARTS
            yield pair


_U1, _U2, _U4, _U8 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
STOP = ord(".")

# Named as in the standard library's `pickletools`. Sets become lists, which hash nothing.
_NAMED: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.frame(),  # FRAME
    b"(": lambda m: m.open_mark(),  # MARK
    b"0": lambda m: m.pop() if m.stack else m.close_mark(),  # POP
    b"1": Machine.close_mark,  # POP_MARK
    b"2": lambda m: m.stack.append(m.top()),  # DUP
    b"N": lambda m: m.stack.append(None),  # NONE
    b"\x88": lambda m: m.stack.append(True),  # NEWTRUE
    b"\x89": lambda m: m.stack.append(False),  # NEWFALSE
    b"I": Machine.push_int_line,  # INT
    b"J": lambda m: m.stack.append(m.number(_I4)),  # BININT
    b"K": lambda m: m.stack.append(m.number(_U1)),  # BININT1
    b"M": lambda m: m.stack.append(m.number(_U2)),  # BININT2
    b"L": lambda m: m.stack.append(m.integer(m.line().removesuffix("L"))),  # LONG
    b"\x8a": lambda m: m.push_long(m.number(_U1)),  # LONG1
    b"\x8b": lambda m: m.push_long(m.number(_U4)),  # LONG4
    b"F": lambda m: m.stack.append(float(m.line())),  # FLOAT
    b"G": lambda m: m.stack.append(m.number(_F8)),  # BINFLOAT
    b"S": Machine.push_string_line,  # STRING
    b"T": lambda m: m.push_string(m.take(m.number(_U4))),  # BINSTRING
    b"U": lambda m: m.push_string(m.take(m.number(_U1))),  # SHORT_BINSTRING
    b"B": lambda m: m.stack.append(m.take(m.number(_U4))),  # BINBYTES
    b"C": lambda m: m.stack.append(m.take(m.number(_U1))),  # SHORT_BINBYTES
    b"\x8e": lambda m: m.stack.append(m.take(m.number(_U8))),  # BINBYTES8
    b"\x96": lambda m: m.stack.append(m.take(m.number(_U8))),  # BYTEARRAY8
    b"V": Machine.push_text_line,  # UNICODE
    b"X": lambda m: m.push_text(m.number(_U4)),  # BINUNICODE
    b"\x8c": lambda m: m.push_text(m.number(_U1)),
    b"\x8d": lambda m: m.push_text(m.number(_U8)),
    b"]": lambda m: m.push_new([]),  # EMPTY_LIST
    b"l": lambda m: m.push_new(m.close_mark()),  # LIST
    b"a": Machine.append_one,  # APPEND
    b"e": lambda m: m.append_all(m.close_mark()),  # APPENDS
    b")": lambda m: m.stack.append(()),  # EMPTY_TUPLE
    b"t": lambda m: m.push_new(tuple(m.close_mark())),  # TUPLE
    b"\x85": lambda m: m.tuple_of(1),  # TUPLE1
    b"\x86": lambda m: m.tuple_of(2),  # TUPLE2
    b"\x87": lambda m: m.tuple_of(3),  # TUPLE3
    b"}": lambda m: m.push_new(Dict()),  # EMPTY_DICT
    b"d": Machine.dict_of_marked,  # DICT
    b"s": Machine.set_one,  # SETITEM
    b"u": lambda m: m.set_all(m.close_mark()),  # SETITEMS
    b"\x8f": lambda m: m.push_new([]),  # EMPTY_SET
    b"\x90": lambda m: m.append_all(m.close_mark()),  # ADDITEMS
    b"\x91": lambda m: m.push_new(m.close_mark()),  # FROZENSET
    b"g": lambda m: m.stack.append(m.recalled(m.integer(m.line()))),  # GET
    b"h": lambda m: m.stack.append(m.recalled(m.number(_U1))),  # BINGET
    b"j": lambda m: m.stack.append(m.recalled(m.number(_U4))),  # LONG_BINGET
    b"p": lambda m: m.remember(m.integer(m.line())),  # PUT
    b"q": lambda m: m.remember(m.number(_U1)),  # BINPUT
    b"r": lambda m: m.remember(m.number(_U4)),  # LONG_BINPUT
    b"\x94": Machine.remember_next,  # MEMOIZE
    b"c": lambda m: m.push_global(m.line(), m.line()),  # GLOBAL
    b"\x93": Machine.stack_global,  # STACK_GLOBAL
    b"P": Machine.text_reference,  # PERSID
    b"Q": lambda m: m.reference(),  # BINPERSID
    b"R": Machine.reduce,  # REDUCE
    b"\x81": Machine.new_object,  # NEWOBJ
    b"\x92": Machine.new_object_with_keywords,  # NEWOBJ_EX
    b"i": Machine.instance,  # INST
    b"o": Machine.object,  # OBJ
    b"b": Machine.build,  # BUILD
    b"\x82": Machine.extension,  # EXT1
    b"\x83": Machine.extension,  # EXT2
    b"\x84": Machine.extension,  # EXT4
}
OPCODES = {code[0]: run for code, run in _NAMED.items()}
