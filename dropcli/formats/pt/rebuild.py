"""Find the tensors in a pickled object, by the functions with which torch rebuilds them.

Names are dotted paths of dict keys, indices and attribute names. The input is the inert records of
`unpickle`. An object of an unknown class consists of its arguments, items and attributes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dropcli.errors import FormatError
from dropcli.formats.pt.records import LONG, PARTS, Call, Dict, Global, Reference

_ORDERED_DICT = Global("collections", "OrderedDict")
_WRAPPERS = {
    Global("torch._utils", "_rebuild_parameter"),
    Global("torch._utils", "_rebuild_parameter_with_state"),
}
_OF_TYPE = Global("torch._tensor", "_rebuild_from_type_v2")
# Functions that make a view of a storage, and their number of arguments.
_VIEWS = {"_rebuild_tensor": (4,), "_rebuild_tensor_v2": (6, 7), "_rebuild_tensor_v3": (7, 8)}
_SPECIAL = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_qtensor": "quantized",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "meta",
    "_rebuild_wrapper_subclass": "of a wrapper class",
}
MAX_DIMENSIONS = 64  # torch's own limit
_MAX_NAME = 1 << 21  # characters
_MAX_NAMES = 1 << 27  # characters of all names together
_MAX_WRAPPERS = 8


@dataclass(frozen=True, slots=True)
class FoundTensor:
    """A tensor in a pickle: a view of a storage, or a special tensor that can only be copied.

    Offset and strides are in elements. `dtype` is torch's name; None if the storage determines it.
    A tensor that is `inside` a special one is a part of it, such as the values of a sparse tensor.
    """

    name: str
    storage: Any = None
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dtype: str | None = None
    special: str | None = None
    inside: bool = False


@dataclass(frozen=True, slots=True)
class _Node:
    """A value and its path. Its name is made from the path only when needed."""

    value: Any
    parent: "_Node | None" = None
    key: Any = None
    inside: bool = False

    def name(self) -> str:
        parts = []
        length = 0
        node: _Node | None = self
        while node and node.parent:
            part = _key_text(node.key)
            length += len(part) + 1
            if length > _MAX_NAME:
                problem = f"a tensor's name has more than {_MAX_NAME:,} characters"
                raise FormatError("name-too-long", problem)
            parts.append(part)
            node = node.parent
        return ".".join(reversed(parts))


def find_tensors(root: Any) -> Iterator[FoundTensor]:
    """Yield all tensors in the order of the pickle; one that occurs twice is found twice."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    length = 0
    for node in _walk(root):
        name = node.name() or "tensor"
        length += len(name)
        if length > _MAX_NAMES:
            problem = f"the tensors' names have more than {_MAX_NAMES:,} characters in all"
            raise FormatError("names-too-long", problem)
        if not node.inside:
            wanted = name
            while name in taken:
                counts[wanted] = counts.get(wanted, 1) + 1
                name = f"{wanted}#{counts[wanted]}"
            taken.add(name)
        yield _found(name, node)


def first_non_tensor(root: Any) -> str | None:
    """The name of the first value that is neither a tensor nor a container; None if all are."""
    for node in _walk(root, plain=True):
        if not _is_tensor(node.value):
            return node.name() or "the content"
    return None


def _walk(root: Any, *, plain: bool = False) -> Iterator[_Node]:
    """Yield tensors, and other values if `plain`: depth first, no recursion, containers once."""
    seen: set[int] = set()
    stack = [_Node(root)]
    while stack:
        node = stack.pop()
        value = node.value
        is_tensor, is_container = _is_tensor(value), type(value) in PARTS
        if is_tensor or (plain and not is_container):
            yield node
        if not is_container or id(value) in seen:
            continue
        seen.add(id(value))
        inside = node.inside or (is_tensor and _innermost(value) is None)
        children = [
            _Node(part, node, key, inside)
            for key, part in (_tensor_parts(value) if is_tensor else _parts(value))
            if (plain and not is_tensor) or type(part) in PARTS
        ]
        stack.extend(reversed(children))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, tuple | list):
        yield from enumerate(value)
    elif isinstance(value, Dict):
        yield from value.pairs
    else:
        yield from _pairs_in(value) or enumerate(value.arguments)
        yield from enumerate(value.items)
        yield from value.pairs
        if value.function != _ORDERED_DICT:  # its attribute is torch's record of module versions
            yield from _attributes(value.state)


def _pairs_in(call: Call) -> list[tuple[Any, Any]]:
    """The items of an OrderedDict of Python 2, which are its argument."""
    match call.arguments:
        case (list() as pairs,) if call.function == _ORDERED_DICT:
            if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                return [(key, value) for key, value in pairs]
    return []


def _attributes(state: Any) -> Iterator[tuple[Any, Any]]:
    """The attributes in a state: a dict, a pair of dict and slots, or any other object."""
    if isinstance(state, Dict):
        yield from state.pairs
    elif isinstance(state, tuple):
        for number, part in enumerate(state):
            if isinstance(part, Dict):
                yield from part.pairs
            else:
                yield number, part
    elif state is not None:
        yield "state", state


def _tensor_parts(call: Call) -> Iterator[tuple[Any, Any]]:
    """The attributes of a tensor, or the parts of a special one."""
    if _innermost(call) is None:
        yield from enumerate(call.arguments)
    elif call.function == _OF_TYPE or call.function in _WRAPPERS:
        yield from _attributes(call.arguments[-1])


def _is_tensor(value: Any) -> bool:
    if not (isinstance(value, Call) and isinstance(value.function, Global)):
        return False
    module, name = value.function.module, value.function.name
    return value.function == _OF_TYPE or (module == "torch._utils" and name.startswith("_rebuild_"))


def _innermost(call: Any) -> Call | None:
    """The view inside parameters and subclasses; None for a special tensor."""
    for _ in range(_MAX_WRAPPERS):
        if not (isinstance(call, Call) and _is_tensor(call)):
            return None
        if call.function == _OF_TYPE and len(call.arguments) > 2:
            arguments = call.arguments[2]
            call = Call(call.arguments[0], arguments if isinstance(arguments, tuple) else ())
        elif call.function in _WRAPPERS and call.arguments:
            call = call.arguments[0]
        else:
            return call if call.function.name in _VIEWS else None
    return None


def _found(name: str, node: _Node) -> FoundTensor:
    call = _innermost(node.value)
    if call is None:
        kind = _SPECIAL.get(node.value.function.name, "of a special kind")
        return FoundTensor(name, special=kind, inside=node.inside)
    try:
        name.encode()
        return _view(name, call, node.inside)
    except UnicodeEncodeError:
        problem = f"tensor '{name}': its name is not valid Unicode"
        hint = "load it with torch, and save it under another key"
        raise FormatError("name-not-unicode", problem, hint) from None
    except (AttributeError, TypeError, IndexError, ValueError):
        problem = f"tensor '{name}': its record in the pickle is not one that torch writes"
        raise FormatError("damaged-tensor", problem) from None


def _view(name: str, call: Call, inside: bool) -> FoundTensor:
    storage, offset, shape, strides, *more = call.arguments
    if not isinstance(storage, Reference) or len(shape) > MAX_DIMENSIONS:
        raise TypeError
    if len(call.arguments) not in _VIEWS[call.function.name]:
        raise TypeError
    if more and not isinstance(more[0], bool):  # requires_grad
        raise TypeError
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError
    typed = call.function.name == "_rebuild_tensor_v3"
    dtype = more[2].name if typed else None
    metadata = more[-1] if len(more) > (3 if typed else 2) else None
    # Further items may not have been kept.
    if isinstance(metadata, Dict) and len(metadata.pairs) >= LONG:
        raise ValueError
    flags = [key for key, value in metadata.pairs if value] if isinstance(metadata, Dict) else []
    special = f"a {flags[0]} view" if flags else None
    return FoundTensor(name, storage.id, offset, shape, strides, dtype, special, inside)


def _key_text(key: Any) -> str:
    """A key as part of a name. The text of other objects would differ between machines."""
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    if isinstance(key, str | int | float | bool | None):
        return str(key)
    if isinstance(key, tuple) and all(isinstance(part, str | int | None) for part in key[:9]):
        return str(key) if len(key) < 9 else "(...)"
    return "(object)"
