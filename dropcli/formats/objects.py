"""Find the tensors in a pickled object, by the functions that torch rebuilds them with.

Names are dotted paths of dict keys, indices and attribute names. Only records are looked at (see
`pickles`); an object of any class is its arguments, items and attributes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dropcli.errors import FormatError
from dropcli.formats.pickles import Call, Dict, Global, Reference

_UTILS = "torch._utils"
_ORDERED_DICT = Global("collections", "OrderedDict")
_WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_SPECIAL = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_qtensor": "quantized",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "meta",
    "_rebuild_wrapper_subclass": "of a wrapper class",
    "_rebuild_device_tensor_from_numpy": "of a foreign device",
    "_rebuild_device_tensor_from_cpu_tensor": "of a foreign device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A tensor in a pickle: a view of a storage, or (special) one that can only be copied.

    Offset and strides are in elements; `dtype` is torch's name of it, where the tensor says so
    itself and not its storage.
    """

    name: str
    storage: Any = None
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dtype: str | None = None
    special: str | None = None


def find_tensors(root: Any) -> Iterator[Found]:
    """Every tensor, in the order of the file; one that stands in two places is found twice."""
    names: dict[str, int] = {}
    for path, call in _tensors(root):
        name = path or "tensor"
        names[name] = count = names.get(name, 0) + 1
        yield _found(name if count == 1 else f"{name}#{count}", call)


def left_over(root: Any) -> str | None:
    """The name of the first value that is neither a tensor nor holds any, if there is one."""
    for path, value in _leaves(root):
        if not isinstance(value, Call):
            return path or "the content"
    return None


def _tensors(root: Any) -> Iterator[tuple[str, Call]]:
    for path, value in _leaves(root):
        if isinstance(value, Call):
            yield path, value


def _leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """Tensors and plain values, depth first, without recursion, each container once."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if not isinstance(value, tuple | list | Dict | Call) or _is_tensor(value):
            yield path, value
        elif id(value) not in seen:
            seen.add(id(value))
            stack.extend(reversed([(_join(path, key), part) for key, part in _parts(value)]))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, tuple | list):
        yield from enumerate(value)
    elif isinstance(value, Dict):
        yield from value.pairs
    else:
        if isinstance(value.arguments, tuple):
            yield from enumerate(value.arguments)
        yield from enumerate(value.items)
        yield from value.pairs
        if value.function == _ORDERED_DICT:
            return  # whose only attribute is torch's note of module versions
        # Attributes: a dict, or a dict and that of the slots.
        states = value.state if isinstance(value.state, tuple) else (value.state,)
        for state in states:
            if isinstance(state, Dict):
                yield from state.pairs
            elif isinstance(state, list | Call):
                yield "state", state


def _join(path: str, key: Any) -> str:
    text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    return f"{path}.{text}" if path else text


def _is_tensor(value: Any) -> bool:
    if not (isinstance(value, Call) and isinstance(value.function, Global)):
        return False
    function = value.function
    if function.module == "torch._tensor" and function.name == "_rebuild_from_type_v2":
        return True
    return function.module == _UTILS and function.name.startswith("_rebuild_")


def _found(name: str, call: Call) -> Found:
    try:
        while call.function.name in (*_WRAPPERS, "_rebuild_from_type_v2"):
            first = call.arguments[0]
            is_type = call.function.name == "_rebuild_from_type_v2"
            call = Call(first, call.arguments[2]) if is_type else first
        kind = call.function.name
        if kind in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return _view(name, kind, call.arguments)
    except (AttributeError, TypeError, IndexError, ValueError):
        raise FormatError(
            "damaged-tensor", f"tensor '{name}': expected a record of torch's, got something else"
        ) from None
    return Found(name, special=_SPECIAL.get(kind, "of a kind that is not known"))


def _view(name: str, kind: str, arguments: tuple[Any, ...]) -> Found:
    storage, offset, shape, strides, *more = arguments
    if not isinstance(storage, Reference):
        raise TypeError
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError
    dtype = more[2].name if kind == "_rebuild_tensor_v3" else None
    metadata = more[-1] if len(more) > (2 if dtype is None else 3) else None
    flags = [key for key, value in metadata.pairs if value] if isinstance(metadata, Dict) else []
    special = f"with the {flags[0]} bit" if flags else None
    return Found(name, storage.id, offset, shape, strides, dtype, special)
