"""Read some elements of an open file, and compute what `apply` makes of them."""

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
    """Some elements of one tensor, in its dtype; `after` and `keep` have an array for each copy."""

    before: NDArray[Any]
    after: list[NDArray[Any]]
    keep: list[NDArray[np.bool_]]


class Excerpt:
    """Reads elements of an open source, before and after dropout.

    `stream` is its name in mask keys; `copies` are numbers of copies.
    """

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
        """Return the elements at these row-major indices, in the shape of `indices`."""
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
