"""How far the work is: what receives it, and ignores it unless it is told better."""

from collections.abc import Callable


class Progress:
    """Receives how far the work is, and ignores it."""

    def begin(self, files: int, nbytes: int) -> None:
        """Called with how much there is to do, before any of it is done."""

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        """Called regularly with what more is done."""


class BytesProgress(Progress):
    """Passes on the number of bytes alone: one of several files, whose sum is known."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        self._on_bytes(nbytes)
