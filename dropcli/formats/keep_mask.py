"""The keep mask of a file as a file: a bool tensor for each dropped tensor."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from dropcli.formats.base import Checksum, Derived, Made, Segment, Source
from dropcli.formats.convert import PtFromSafetensors, check_safetensors
from dropcli.formats.safetensors import new_header
from dropcli.tensors import DTYPES, TensorInfo

_BLOCK = 1 << 20  # bytes


class KeepMask(Derived):
    """True where elements of these tensors are kept. The data of the source is not read."""

    format = "safetensors"

    def __init__(self, source: Source, dropped: Collection[str]) -> None:
        super().__init__(source)
        self.metadata = {}
        self.provenance: list[Any] = []  # the provenance of the source does not describe its mask
        self.tensors = [
            replace(tensor, dtype=DTYPES["BOOL"], nbytes=tensor.elements)
            for tensor in source.tensors
            if tensor.name in dropped
        ]

    def segment(self, tensor: TensorInfo, written: Checksum | None = None) -> Segment:
        return Made(tensor, written)

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then the masks."""
        yield new_header(self.tensors, {}, provenance)
        for tensor in self.tensors:
            yield self.segment(tensor)

    def finish(self) -> None:
        """Raise FormatError if the file has changed. A pipe is read to its end first."""
        if not self.seekable:
            start = min((tensor.offset for tensor in self._source.tensors), default=self.size)
            for offset in range(start, self.size, _BLOCK):
                self.read_into(offset, memoryview(bytearray(min(_BLOCK, self.size - offset))))
        super().finish()


def keep_mask_of(source: Source, dropped: Collection[str], output: str) -> Source:
    """The masks of these tensors, in the format of the output's suffix or else of the source."""
    mask, path = KeepMask(source, dropped), PurePath(output)
    formats = {".pt": "pt", ".pth": "pt", ".safetensors": "safetensors"}
    if formats.get(path.suffix.lower(), source.format) == "pt":
        return PtFromSafetensors(mask, path.stem)
    check_safetensors(mask.tensors)
    return mask
