"""What to do with one tensor: its mask and its arithmetic."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Dropout, Kernel, Range, fixed_kernel, in_tensor, kernel_for
from dropcli.errors import TensorError
from dropcli.masks import FileMasks, Mask, RateSummary, SampleProbabilities
from dropcli.native import has_kernel_for
from dropcli.pipeline.stats import stride_of
from dropcli.tensors import TensorInfo


@dataclass(frozen=True)
class Recipe:
    """One tensor, its mask and its arithmetic."""

    tensor: TensorInfo
    dropout: Dropout
    mask: Mask
    _kernel: Kernel
    statistics: bool  # computing them takes longer than dropout
    sample: int = 0  # the number of elements to sample
    phase: int = 0  # differs between files, so that the sampled elements differ too

    @cached_property
    def stride(self) -> int:
        """One of this many elements is sampled; 0 means none."""
        return stride_of(self.tensor.elements, self.sample) if self.sample else 0

    def sampled(self, elements: slice | NDArray[np.int64]) -> slice | NDArray[np.bool_]:
        """Which of these elements are sampled; the result for a slice is a slice."""
        if isinstance(elements, slice):
            return slice((self.phase - elements.start) % self.stride, None, self.stride)
        chosen: NDArray[np.bool_] = elements % self.stride == self.phase % self.stride
        return chosen

    @property
    def native_factor(self) -> float | None:
        """The factor of kept elements for the kernel in C; None if it cannot drop this tensor."""
        fits = isinstance(self.mask.p, float) and has_kernel_for(self.tensor.dtype.name)
        return self._kernel.factor if fits else None

    def kernel(self, first: int, count: int) -> Kernel:
        """The kernel for `count` elements that begin at `first`."""
        p = self.mask.p
        if not isinstance(p, SampleProbabilities) or not count:
            return self._kernel
        return kernel_for(self.dropout, self.tensor.dtype, *p.run(first, count, self._each))

    def values(self, raw: NDArray[np.void]) -> NDArray[Any]:
        """A copy of these elements, shape (n,), as real numbers."""
        return self._kernel.values(raw.copy().view(np.uint8))

    def kernel_at(self, elements: NDArray[np.int64]) -> Kernel:
        """The kernel for the elements at these row-major indices."""
        p = self.mask.p
        if not isinstance(p, SampleProbabilities):
            return self._kernel
        return kernel_for(self.dropout, self.tensor.dtype, *p.of(elements, self._each))

    def rate(self) -> RateSummary | None:
        """The requested p; None if there are no samples for which p is drawn."""
        dropout, p = self.dropout, self.mask.p
        grouped = dropout.exact or bool(dropout.min_keep)
        if isinstance(p, SampleProbabilities):
            found = p.summary()
            return found._replace(variance=None) if found and grouped else found
        known = not grouped and not isinstance(dropout.p, Range)
        return RateSummary(p, None, None, None if grouped else p * (1 - p), known)

    @property
    def _each(self) -> int:
        return prod(self.tensor.shape[1:])


def recipe_for(
    dropout: Dropout,
    masks: FileMasks,
    tensor: TensorInfo,
    *,
    statistics: bool = True,
    sample: int = 0,
    phase: int = 0,
) -> Recipe:
    """The recipe of a tensor. Raises TensorError if the settings do not fit it."""
    mask = masks.mask_for(tensor)
    try:
        # If p differs between samples, this still checks that the fill fits.
        kernel = fixed_kernel(dropout, tensor.dtype, mask.p if isinstance(mask.p, float) else 0.5)
    except TensorError as error:
        raise in_tensor(tensor, error) from None
    return Recipe(tensor, dropout, mask, kernel, statistics, sample, phase)
