"""What a pickle builds, as inert records of classes, calls and containers."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LONG = 64  # plain values of a container after so many items are not kept


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


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
    """A dict as a list of pairs, because hashing a key could run code."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Reference:
    """A persistent id, by which torch refers to a storage outside the pickle."""

    id: Any


PARTS = {tuple, list, Dict, Call}  # the types that can contain tensors


class MadeCall(NamedTuple):
    """A call that unpickling would make."""

    function: Any
    arguments: Any


class Loaded(NamedTuple):
    """The content of a pickle, the names and calls in it, and the number of bytes after it."""

    record: Any
    globals: list[Global]
    calls: list[MadeCall]  # the calls to check
    references: list[Reference]
    rest: int
