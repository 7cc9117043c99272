"""Elements of an open file as they are, and as `apply` writes them; no others are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Dropout, Selection
from dropcli.formats import Source, elements_at
from dropcli.pipeline import drop_scattered, recipes_for
from dropcli.tensors import Indices, TensorInfo


@dataclass(frozen=True)
class Elements:
    """Elements of one tensor, of any shape: `after` and `keep` have one for each copy.

    They are of the tensor's own dtype.
    """

    before: NDArray[Any]
    after: list[NDArray[Any]]
    keep: list[NDArray[np.bool_]]


class Excerpt:
    """An open source, and what these copies of it would be; `stream` is its name in mask keys."""

    def __init__(
        self,
        source: Source,
        selection: Selection,
        dropout: Dropout,
        stream: str,
        copies: Sequence[int],
    ) -> None:
        self._source = source
        self._recipes = [
            recipes_for(source, dropout, selection.names, stream, copy, statistics=False)
            for copy in copies
        ]
        self.tensors = [recipe.tensor for recipe in self._recipes[0].values()]

    def elements(self, tensor: TensorInfo, indices: Indices) -> Elements:
        """The elements of these row-major indices, in their shape."""
        logical = indices.reshape(-1)
        raw = elements_at(self._source, tensor, tensor.elements_layout.places_of(logical)).view(
            np.uint8
        )
        dtype, shape = tensor.dtype.numpy, indices.shape
        after, keep = [], []
        for recipes in self._recipes:
            dropped = raw.copy()
            keep.append(drop_scattered(recipes[tensor.name], logical, dropped).reshape(shape))
            after.append(dropped.view(dtype).reshape(shape))
        return Elements(raw.view(dtype).reshape(shape), after, keep)
