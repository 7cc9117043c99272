"""Several copies of a dataset in one safetensors file, concatenated along dimension 0.

All tensors with as many samples as the selected ones are repeated, so that labels stay aligned.
Other tensors are written once.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from dropcli.errors import FormatError, TensorError, UsageError
from dropcli.formats.base import Derived, Segment, Source
from dropcli.formats.safetensors import new_header
from dropcli.tensors import TensorInfo


class Concatenated(Derived):
    """Copies of a source's tensors in one file.

    `selected` are the tensors to drop; in segments, copy k of one is named `label(name, k)`. Raises
    FormatError for formats other than safetensors, and UsageError for a pipe.
    """

    format = "safetensors"

    def __init__(self, source: Source, selected: Collection[str], copies: list[int]) -> None:
        super().__init__(source)
        if source.format != "safetensors":
            raise FormatError(
                "concat-pt",
                "--concat cannot write .pt files",
                "use an output whose name ends in .safetensors",
            )
        if not source.seekable:
            raise UsageError("concat-pipe", "--concat cannot read from a pipe")
        self._copies = copies
        self._size = _first_dimension([item for item in source.tensors if item.name in selected])
        self.tensors = [self._grown(tensor) for tensor in source.tensors]

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then each tensor with all its copies."""
        yield new_header(self.tensors, self.metadata, provenance)
        for tensor in self._source.tensors:
            if not self._grows(tensor):
                yield self._source.segment(replace(tensor, name=label(tensor.name, -1)))
                continue
            for copy in self._copies:
                tied_to = tensor.tied_to and label(tensor.tied_to, copy)
                name = label(tensor.name, copy)
                yield self._source.segment(replace(tensor, name=name, tied_to=tied_to))

    def _grows(self, tensor: TensorInfo) -> bool:
        return tensor.shape[:1] == (self._size,)

    def _grown(self, tensor: TensorInfo) -> TensorInfo:
        if not self._grows(tensor):
            return tensor
        shape = (self._size * len(self._copies), *tensor.shape[1:])
        return replace(tensor, shape=shape, layout=None)


def label(name: str, copy: int) -> str:
    """A unique name for copy k of a tensor while it is written."""
    return f"{name}\0{copy}"


def _first_dimension(selected: list[TensorInfo]) -> int:
    """The number of samples. Raises TensorError if the selected tensors differ."""
    if not selected:
        raise TensorError("nothing-selected", "--concat: no tensor is selected")
    for tensor in selected:
        if tensor.shape[:1] != selected[0].shape[:1] or not tensor.shape:
            shapes = [f"'{item.name}' is {list(item.shape)}" for item in (selected[0], tensor)]
            raise TensorError(
                "no-common-dimension",
                f"--concat: the first dimensions differ: {', '.join(shapes)}",
                "select tensors of the same samples with --key",
            )
    return selected[0].shape[0]
