"""What a pickle makes, as inert records: of classes, calls and containers."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LONG = 64  # beyond so many items, plain values of a container are forgotten


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
    """A dict as a list of pairs, since hashing a key could run code."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Reference:
    """A persistent id, with which torch names a storage beside the pickle."""

    id: Any


PARTS = {tuple, list, Dict, Call}  # what tensors can be in


class MadeCall(NamedTuple):
    """A call that unpickling would make."""

    function: Any
    arguments: Any


class Loaded(NamedTuple):
    """The content of a pickle, what it names and calls, and the bytes that follow it."""

    record: Any
    globals: list[Global]
    calls: list[MadeCall]  # those that need to be judged
    references: list[Reference]
    rest: int
