"""Compare an existing file with bytes that are computed again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from dropcli.files import Reader
from dropcli.tensors import TensorInfo

Write: TypeAlias = Callable[[bytes | memoryview], None]


class Difference(NamedTuple):
    """The first byte that differs; None if the output cannot be read."""

    byte: int | None
    tensor: str | None
    message: str


class _Differs(Exception):
    """Ends the comparison at the first difference."""

    def __init__(self, byte: int) -> None:
        self.byte = byte


class Comparison:
    """Accepts bytes like an output file, and compares them with an existing file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._size = reader.size or 0
        self._position = 0

    def write(self, data: bytes | memoryview) -> None:
        """Compare the next bytes."""
        left = self._size - self._position
        there = self._reader.read(self._position, min(len(data), left))
        if there != data:
            found, derived = np.frombuffer(there, np.uint8), np.frombuffer(data, np.uint8)
            differing = found != derived[: len(found)]
            first = int(differing.argmax()) if differing.any() else len(found)
            raise _Differs(self._position + first)
        self._position += len(data)

    def difference(
        self, derive: Callable[[Write], None], tensors: Sequence[TensorInfo] = ()
    ) -> Difference | None:
        """Return the first byte that differs from what `derive` writes."""
        try:
            derive(self.write)
        except _Differs as found:
            byte = found.byte
        else:
            byte = self._position
            if byte == self._size:
                return None
        inside = (t.name for t in tensors if t.offset <= byte < t.offset + t.nbytes)
        tensor = next(inside, None)
        where = f"in tensor '{tensor}'" if tensor else "outside the tensors"
        what = "the file ends" if byte >= self._size else f"the first difference, {where}"
        return Difference(byte, tensor, f"byte {byte:,}: {what}")
