"""A source made of another one: its tensors, in segments of another file."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dropcli.tensors import Segment, Source, total


class Derived(ABC):
    """Another source's tensors, read from it, in segments of another kind of file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        self.seekable = source.seekable
        self.metadata = source.metadata
        self.provenance = source.provenance
        self.tensors = source.tensors
        self.notes = list(source.notes)
        self.strangers: Sequence[str] = ()  # the output holds tensors alone

    def check_selected(self, names: Collection[str]) -> None:
        """As the source has it."""
        self._source.check_selected(names)

    @abstractmethod
    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The output in order, as a file of the other kind."""

    def output_size(self, provenance: list[Any] | None) -> int:
        """The bytes of all segments."""
        return total(self.segments(provenance))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from there; FormatError if the file ends first."""
        self._source.read_into(offset, buffer)

    def finish(self) -> None:
        """FormatError if the file changed."""
        self._source.finish()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()
