"""Parse pickles without executing them.

A pickle is a program for a stack machine that imports and calls any function it names. This
parser builds inert records instead: a `Global` for an import, a `Call` for a call. It imports,
calls and hashes nothing on behalf of the file, and allocates no more than the file holds. In long
lists and dicts it keeps only what may contain tensors, so that memory depends on the tensors.
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
_MAX_DIGITS = 1000  # of a decimal integer, whose conversion takes quadratic time
_MAX_LINE = 1 << 20  # bytes


_ENCODE = Global("_codecs", "encode")
# Functions in these modules call nothing, and most calls are of them.
_PLAIN = {"torch._utils", "collections", "numpy.core.multiarray", "numpy._core.multiarray"}
# Other code uses the objects that these return, such as modules and classes.
_SHARED = {
    *(Global(module, "getattr") for module in ("builtins", "__builtin__")),
    *(Global(module, "type") for module in ("builtins", "__builtin__")),
    Global("logging", "getLogger"),
    Global("torch.jit._pickle", "restore_type_tag"),
}
_PARTIAL = {Global("functools", "partial"), Global("_functools", "partial")}
_LATIN_1 = (("latin1",), ("latin-1",))


def load(data: bytes) -> Loaded:
    """Parse a pickle, and collect what all pickles after it name and call.

    Raises:
        FormatError: the pickle is damaged, or has opcodes that no tensor file needs.
    """
    parser = PickleParser(data)
    record = parser.run()
    globals_, calls, at = parser.globals, parser.calls, parser.at
    with suppress(FormatError):  # for bytes that are no pickle
        while at < len(data):
            more = PickleParser(data, at)
            more.globals, more.calls = globals_, calls
            more.run()
            at = more.at
    return Loaded(record, list(globals_), calls, parser.references, len(data) - parser.at)


def max_objects(data: bytes) -> int:
    """The number of objects that a pickle of this size may make."""
    return _FEW_OBJECTS + len(data) // _BYTES_PER_OBJECT


class PickleParser:
    """A parser for pickles of protocols 0 to 5, with one method for each group of opcodes.

    It reads the pickle at byte `at` of the data, which are the start of a file of `size` bytes.
    With `whole`, plain values in long containers are kept.
    """

    def __init__(self, data: bytes, at: int = 0, *, whole: bool = False) -> None:
        self.globals: dict[Global, None] = {}
        self.calls: list[MadeCall] = []
        self.references: list[Reference] = []
        self.at = self._start = at
        self.needed = 0  # bytes of data that are needed, if there were too few
        self.data, self.size = data, len(data)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stack below each open mark
        self.memo: list[Any] = []
        self._sparse_memo: dict[int, Any] = {}  # memo entries whose numbers are not consecutive
        self._whole = whole
        self._noted: set[Global] = set()  # functions that were called with plain arguments
        self._framed = False  # inside a frame
        self._objects_left = max_objects(data)

    def run(self) -> Any:
        """Return the object that the pickle describes; `at` is then the position after it."""
        try:
            self.execute(len(self.data))
            self.take(1)
            return self.pop()
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error):
            self.damaged()

    def retry(self, data: bytes) -> "PickleParser":
        """Return a parser that starts again with more data."""
        return PickleParser(data, self._start, whole=self._whole)

    def execute(self, end: int) -> None:
        """Run the opcodes before byte `end`, or before the STOP of the pickle."""
        data = self.data
        while self.at < end and (code := data[self.at]) != STOP:
            self.at += 1
            OPCODES[code](self)

    def damaged(self) -> NoReturn:
        problem = f"its pickle is damaged at byte {self.at:,} of {self.size:,}"
        raise FormatError("damaged-pickle", problem)

    # Steps that several opcodes share.

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes. Raises FormatError if there are fewer."""
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
        """Push a container. Only a hostile file makes many from few bytes."""
        self._objects_left -= 1
        if self._objects_left < 0:
            raise FormatError(
                "too-many-objects", "its pickle builds far more objects than it has bytes"
            )
        self.stack.append(value)

    def open_mark(self) -> None:
        self._objects_left -= 1
        if self._objects_left < 0:
            self.damaged()
        self.outer.append(self.stack)
        self.stack = []

    def close_mark(self) -> list[Any]:
        """Return everything pushed since the mark."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def remember(self, index: int) -> None:
        memo = self.memo
        if index == len(memo):
            memo.append(self.stack[-1])
            self._sparse_memo.pop(index, None)
        elif 0 <= index < len(memo):
            memo[index] = self.stack[-1]
        else:
            self._sparse_memo[index] = self.stack[-1]

    def remember_next(self) -> None:
        self.remember(len(self.memo) + len(self._sparse_memo))

    def recalled(self, index: int) -> Any:
        return self.memo[index] if 0 <= index < len(self.memo) else self._sparse_memo[index]

    # Opcodes that do more than push a constant.

    def frame(self) -> None:
        """Run the opcodes of a frame. Where one does not end with it, implementations differ."""
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
        # Tensors need no longer integers, and bytes take no time to convert or print.
        small = size <= _MAX_LONG_BYTES
        self.push(int.from_bytes(data, "little", signed=True) if small else data)

    def push_string_line(self) -> None:
        """Push a quoted string, in which an escape can stand for any character."""
        quoted = self.line_of_bytes()
        if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[:1] not in (b"'", b'"'):
            self.damaged()
        self.push_string(codecs.escape_decode(quoted[1:-1])[0])

    def push_text_line(self) -> None:
        self.push(self.line_of_bytes().decode("raw-unicode-escape"))

    def push_string(self, data: bytes) -> None:
        """Push a string of Python 2, which torch reads as UTF-8."""
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
        """Push a reference to a storage; torch writes no other persistent ids."""
        match self.pop():
            case ("storage", Global(), str(), _, int(), *_) as found:
                self.references.append(Reference(found))
                self.push_new(self.references[-1])
            case _:
                self.damaged()

    def text_reference(self) -> NoReturn:
        """Refuse a storage id of protocol 0, a text, which torch can write but not read."""
        problem = "it was saved with pickle protocol 0, from which torch cannot load tensors"
        raise FormatError("unsupported-format", problem, "save it again with protocol 2")

    def push_call(self, function: Any, arguments: Any) -> None:
        if not (isinstance(arguments, tuple) and isinstance(function, Global | Call)):
            self.damaged()
        # Old protocols store bytes this way. Other codecs may unpack bombs or run registered code.
        if function == _ENCODE and arguments[1:] not in _LATIN_1:
            problem = "its pickle could run code: it calls a codec other than latin1"
            raise FormatError("program-in-data", problem)
        self._note(function, arguments)
        self.push_new(Call(function, arguments))

    def _note(self, function: Any, arguments: Any) -> None:
        """Keep a call to check it; of calls with plain arguments, one for each function."""
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
        if isinstance(cls, Global) and arguments == ():  # an instance, of any class
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
            problem = f"its pickle could run code: it changes what {built.function} returns"
            raise FormatError("program-in-data", problem)
        if built.function in _PARTIAL:  # it replaces the function
            self._note(built.function, (state,))
        if built.state is not None:
            self.changed_twice()
        built.state = state

    def changed_twice(self) -> NoReturn:
        """Refuse changes of an object whose state is set, which pickles of torch never make."""
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
        target += _kept_pairs(pairs[room:])

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


def _kept_pairs(pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The pairs whose values may contain tensors, and the first of the others."""
    plain = False
    for pair in pairs:
        if type(pair[1]) in PARTS or not plain:
            plain = plain or type(pair[1]) not in PARTS
            yield pair


_U1, _U2, _U4, _U8 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
STOP = ord(".")

# With the names of `pickletools`. Sets become lists, so that nothing is hashed.
_NAMED: dict[bytes, Callable[[PickleParser], object]] = {
    b"\x80": lambda p: p.take(1),  # PROTO
    b"\x95": lambda p: p.frame(),  # FRAME
    b"(": lambda p: p.open_mark(),  # MARK
    b"0": lambda p: p.pop() if p.stack else p.close_mark(),  # POP
    b"1": PickleParser.close_mark,  # POP_MARK
    b"2": lambda p: p.stack.append(p.top()),  # DUP
    b"N": lambda p: p.stack.append(None),  # NONE
    b"\x88": lambda p: p.stack.append(True),  # NEWTRUE
    b"\x89": lambda p: p.stack.append(False),  # NEWFALSE
    b"I": PickleParser.push_int_line,  # INT
    b"J": lambda p: p.stack.append(p.number(_I4)),  # BININT
    b"K": lambda p: p.stack.append(p.number(_U1)),  # BININT1
    b"M": lambda p: p.stack.append(p.number(_U2)),  # BININT2
    b"L": lambda p: p.stack.append(p.integer(p.line().removesuffix("L"))),  # LONG
    b"\x8a": lambda p: p.push_long(p.number(_U1)),  # LONG1
    b"\x8b": lambda p: p.push_long(p.number(_U4)),  # LONG4
    b"F": lambda p: p.stack.append(float(p.line())),  # FLOAT
    b"G": lambda p: p.stack.append(p.number(_F8)),  # BINFLOAT
    b"S": PickleParser.push_string_line,  # STRING
    b"T": lambda p: p.push_string(p.take(p.number(_U4))),  # BINSTRING
    b"U": lambda p: p.push_string(p.take(p.number(_U1))),  # SHORT_BINSTRING
    b"B": lambda p: p.stack.append(p.take(p.number(_U4))),  # BINBYTES
    b"C": lambda p: p.stack.append(p.take(p.number(_U1))),  # SHORT_BINBYTES
    b"\x8e": lambda p: p.stack.append(p.take(p.number(_U8))),  # BINBYTES8
    b"\x96": lambda p: p.stack.append(p.take(p.number(_U8))),  # BYTEARRAY8
    b"V": PickleParser.push_text_line,  # UNICODE
    b"X": lambda p: p.push_text(p.number(_U4)),  # BINUNICODE
    b"\x8c": lambda p: p.push_text(p.number(_U1)),
    b"\x8d": lambda p: p.push_text(p.number(_U8)),
    b"]": lambda p: p.push_new([]),  # EMPTY_LIST
    b"l": lambda p: p.push_new(p.close_mark()),  # LIST
    b"a": PickleParser.append_one,  # APPEND
    b"e": lambda p: p.append_all(p.close_mark()),  # APPENDS
    b")": lambda p: p.stack.append(()),  # EMPTY_TUPLE
    b"t": lambda p: p.push_new(tuple(p.close_mark())),  # TUPLE
    b"\x85": lambda p: p.tuple_of(1),  # TUPLE1
    b"\x86": lambda p: p.tuple_of(2),  # TUPLE2
    b"\x87": lambda p: p.tuple_of(3),  # TUPLE3
    b"}": lambda p: p.push_new(Dict()),  # EMPTY_DICT
    b"d": PickleParser.dict_of_marked,  # DICT
    b"s": PickleParser.set_one,  # SETITEM
    b"u": lambda p: p.set_all(p.close_mark()),  # SETITEMS
    b"\x8f": lambda p: p.push_new([]),  # EMPTY_SET
    b"\x90": lambda p: p.append_all(p.close_mark()),  # ADDITEMS
    b"\x91": lambda p: p.push_new(p.close_mark()),  # FROZENSET
    b"g": lambda p: p.stack.append(p.recalled(p.integer(p.line()))),  # GET
    b"h": lambda p: p.stack.append(p.recalled(p.number(_U1))),  # BINGET
    b"j": lambda p: p.stack.append(p.recalled(p.number(_U4))),  # LONG_BINGET
    b"p": lambda p: p.remember(p.integer(p.line())),  # PUT
    b"q": lambda p: p.remember(p.number(_U1)),  # BINPUT
    b"r": lambda p: p.remember(p.number(_U4)),  # LONG_BINPUT
    b"\x94": PickleParser.remember_next,  # MEMOIZE
    b"c": lambda p: p.push_global(p.line(), p.line()),  # GLOBAL
    b"\x93": PickleParser.stack_global,  # STACK_GLOBAL
    b"P": PickleParser.text_reference,  # PERSID
    b"Q": lambda p: p.reference(),  # BINPERSID
    b"R": PickleParser.reduce,  # REDUCE
    b"\x81": PickleParser.new_object,  # NEWOBJ
    b"\x92": PickleParser.new_object_with_keywords,  # NEWOBJ_EX
    b"i": PickleParser.instance,  # INST
    b"o": PickleParser.object,  # OBJ
    b"b": PickleParser.build,  # BUILD
    b"\x82": PickleParser.extension,  # EXT1
    b"\x83": PickleParser.extension,  # EXT2
    b"\x84": PickleParser.extension,  # EXT4
}
OPCODES = {code[0]: run for code, run in _NAMED.items()}
