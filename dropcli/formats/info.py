"""The content of a tensor file, from its header alone."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from dropcli.errors import located
from dropcli.files import place_of
from dropcli.formats.base import Source
from dropcli.formats.detect import open_source
from dropcli.tensors import TensorInfo


@dataclass
class FileInfo:
    """One file as `dropcli info` shows it."""

    source: str
    format: str
    size: int
    metadata: dict[str, str]
    provenance: list[Any]
    tensors: list[TensorInfo]
    statistics: dict[str, dict[str, Any] | None] | None = None  # by name, if requested

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        return {
            "source": self.source,
            "format": self.format,
            "bytes": self.size,
            "metadata": self.metadata,
            "provenance": self.provenance,
            "tensors": [
                {
                    "name": tensor.name,
                    "dtype": tensor.dtype.name,
                    "shape": list(tensor.shape),
                    "elements": tensor.elements,
                    "bytes": tensor.nbytes,
                    **self._statistics_of(tensor),
                }
                for tensor in self.tensors
            ],
        }

    def _statistics_of(self, tensor: TensorInfo) -> dict[str, Any]:
        return {} if self.statistics is None else {"statistics": self.statistics[tensor.name]}


def read_info(path: str) -> FileInfo:
    """Read the header of a file, or of standard input for `-`.

    Raises DropcliError if there is none.
    """
    with located(place_of(path)), closing(open_source(path)) as source:
        return info_of(path, source)


def info_of(path: str, source: Source) -> FileInfo:
    """The content of the header of an open file."""
    return FileInfo(
        path,
        source.format,
        source.size,
        source.metadata,
        source.provenance or [],
        source.tensors,
    )
