"""The content of a pickle of torch, by Python's own unpickler with inert classes."""

import io
import pickle
import pickletools
from typing import Any


class Made:
    """A substitute for every class and function, which records its arguments and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.parts: list[Any] = [*arguments]

    def __new__(cls, *arguments: Any) -> "Made":
        made = super().__new__(cls)
        made.parts = [*arguments]
        return made

    def __setstate__(self, state: Any) -> None:
        self.parts.append(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.parts.append(value)

    def append(self, value: Any) -> None:
        self.parts.append(value)

    def add(self, value: Any) -> None:
        self.parts.append(value)

    def extend(self, values: list[Any]) -> None:
        self.parts.extend(values)


class Storage:
    """The object of a persistent id."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.storages = 0

    def find_class(self, module: str, name: str) -> Any:
        return type(f"{module}.{name}", (Made,), {})

    def persistent_load(self, pid: Any) -> Storage:
        self.storages += 1
        return Storage()


def throws_tensors_away(data: bytes) -> bool:
    """Whether the pickle names more storages than its content has tensors."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if "PUT" in opcode.name and argument is not None and int(argument) > len(data):
                return False
        unpickler = _Unpickler(data)
        content = unpickler.load()
    except Exception:  # noqa: BLE001  # whatever comes of a damaged one
        return False
    return unpickler.storages > _tensors(content)


def _tensors(content: Any) -> int:
    count = 0
    seen: set[int] = set()
    rest = [content]
    while rest:
        value = rest.pop()
        parts = value.parts if isinstance(value, Made) else value
        if isinstance(value, dict):
            parts = value.values()
        elif not isinstance(value, list | tuple | set | frozenset | Made):
            continue
        count += _is_tensor(type(value).__name__)  # a tensor in two places counts twice
        if id(value) not in seen:
            seen.add(id(value))
            rest.extend(parts)
    return count


def _is_tensor(made_by: str) -> bool:
    """Parameters do not count, because they contain their tensor."""
    known = made_by.startswith("torch._utils._rebuild_") and "_parameter" not in made_by
    return known or made_by == "torch._tensor._rebuild_from_type_v2"
