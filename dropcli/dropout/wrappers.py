"""What a kernel is, and kernels around kernels: fills, and elements that stay as they are."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[np.uint8]
Keep = NDArray[np.bool_]


class Kernel(Protocol):
    """How elements of one dtype are read as numbers, and dropped."""

    def values(self, raw: Raw) -> NDArray[Any]:
        """The elements as real numbers for statistics, shape (n,); may be a view of `raw`."""

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        """Drop in place.

        `values` is what `values(raw)` gave, and may be overwritten; `finite` says that there is
        no NaN and no infinity among them.
        """


class FillKernel:
    """Another kernel for what is kept; dropped elements become exactly these bits."""

    def __init__(self, kernel: Kernel, element: NDArray[Any]) -> None:
        self._kernel = kernel
        # An element is one unsigned integer, or two for the widest complex dtype.
        self._bits = element.view(f"<u{min(element.itemsize, 8)}")
        self.values = kernel.values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        """As the other kernel, then fill."""
        self._kernel.apply(raw, values, keep, finite)

        # Selecting by bits is several times as fast as `np.where` on a random mask.
        bits = raw.view(self._bits.dtype).reshape(len(keep), -1)
        ones = np.iinfo(self._bits.dtype).max
        bits ^= self._bits
        bits &= np.multiply(keep, ones, dtype=self._bits.dtype)[:, None]
        bits ^= self._bits


class IdentityKernel:
    """p = 0: the input's own bytes, signalling NaN and all."""

    def __init__(self, kernel: Kernel) -> None:
        self.values = kernel.values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        """Nothing changes."""


class PartlyIdentityKernel:
    """Samples of p = 0 among others."""

    def __init__(self, kernel: Kernel, same: NDArray[np.bool_]) -> None:
        self._kernel = kernel
        self._same = same
        self.values = kernel.values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        """As the other kernel, but for those samples."""
        elements = raw.reshape(len(keep), -1)
        before = elements[self._same]
        self._kernel.apply(raw, values, keep, finite)
        elements[self._same] = before
