"""Several copies of a dataset in one safetensors file, one after the other along dimension 0.

Every tensor whose first dimension is that of the selected ones grows: labels are repeated in
step. All other tensors are written once.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from dropcli.errors import FormatError, TensorError, UsageError
from dropcli.formats.base import Derived, Segment, Source, segment_of
from dropcli.formats.safetensors import new_header
from dropcli.tensors import TensorInfo


class Concatenated(Derived):
    """Copies of a source's tensors in one file.

    `selected` are the tensors to drop; copy k of one goes by `label(name, k)` in plans.
    FormatError unless the file is of the safetensors kind and may be read again for each copy.
    """

    format = "safetensors"

    def __init__(self, source: Source, selected: Collection[str], copies: list[int]) -> None:
        super().__init__(source)
        if source.format != "safetensors":
            raise FormatError(
                "concat-pt",
                "--concat: expected a safetensors output, whose tensors can grow, got a .pt file",
                "write to a name that ends in .safetensors",
            )
        if not source.seekable:
            raise UsageError("concat-pipe", "--concat: expected a file, got a pipe")
        self._copies = copies
        self._size = _first_dimension([item for item in source.tensors if item.name in selected])
        self.tensors = [self._grown(tensor) for tensor in source.tensors]

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then each tensor in all its copies."""
        yield new_header(self.tensors, self.metadata, provenance)
        for tensor in self._source.tensors:
            if not self._grows(tensor):
                yield segment_of(replace(tensor, name=label(tensor.name, -1)))
                continue
            for copy in self._copies:
                tied_to = tensor.tied_to and label(tensor.tied_to, copy)
                name = label(tensor.name, copy)
                yield segment_of(replace(tensor, name=name, tied_to=tied_to))

    def _grows(self, tensor: TensorInfo) -> bool:
        return tensor.shape[:1] == (self._size,)

    def _grown(self, tensor: TensorInfo) -> TensorInfo:
        if not self._grows(tensor):
            return tensor
        shape = (self._size * len(self._copies), *tensor.shape[1:])
        return replace(tensor, shape=shape, layout=None)


def label(name: str, copy: int) -> str:
    """What copy k of a tensor is called while it is written; no two are called the same."""
    return f"{name}\0{copy}"


def _first_dimension(selected: list[TensorInfo]) -> int:
    """The number of samples, which the selected tensors must agree on."""
    if not selected:
        raise TensorError("nothing-selected", "--concat: expected tensors to drop, got none")
    for tensor in selected:
        if tensor.shape[:1] != selected[0].shape[:1] or not tensor.shape:
            names = [f"'{item.name}' of {list(item.shape)}" for item in (selected[0], tensor)]
            raise TensorError(
                "no-common-dimension",
                "--concat: expected tensors with the same first dimension, got "
                f"{' and '.join(names)}",
                "choose those of the dataset with --key",
            )
    return selected[0].shape[0]
