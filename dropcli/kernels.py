"""The arithmetic of dropout on a run of elements, one kernel per kind of dtype.

A kernel is made once per tensor and works in place on raw bytes, so the loop around it has no
branches on dtypes. Multiplications, divisions and roundings follow torch's CPU kernels.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dropcli.errors import TensorError
from dropcli.tensors import Dtype

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


def make_kernel(dtype: Dtype, p: float, rescale: bool, fill: float | int | None) -> Kernel:
    """The kernel for all tensors of this dtype; TensorError if `fill` does not fit it."""
    kernel: Kernel
    match dtype.kind:
        case "integer" | "bool":
            kernel = _FillKernel(_IntegerKernel(dtype), _encode_integer(dtype, fill or 0))
        case "complex":
            kernel = _ComplexKernel(dtype, p, rescale)
        case "float8":
            kernel = _Float8Kernel(dtype, p, rescale)
        case _:
            kernel = _FloatKernel(dtype, p, rescale)
    if fill is not None and dtype.kind not in ("integer", "bool"):
        kernel = _FillKernel(kernel, _encode_float(dtype, fill))
    return _IdentityKernel(kernel) if p == 0 else kernel


class _FloatKernel:
    """F64 and F32 in place; F16 and BF16 by way of float32, as torch does."""

    def __init__(self, dtype: Dtype, p: float, rescale: bool) -> None:
        self._dtype = dtype.numpy
        self._narrow = dtype.bits == 16
        self._scale = _scale(dtype, p, rescale)

    def values(self, raw: Raw) -> NDArray[Any]:
        elements: NDArray[Any] = raw.view(self._dtype)
        return elements.astype(np.float32) if self._narrow else elements

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        if finite and np.isfinite(self._scale):
            values *= np.multiply(keep, self._scale, dtype=values.dtype)
        else:  # in F16 the scale itself is infinite for p just below 1
            before = values.copy()
            values *= np.where(keep, self._scale, values.dtype.type(0))
            _settle_nan(before, values)
        if self._narrow:
            raw.view(self._dtype)[:] = values.astype(self._dtype)


class _ComplexKernel:
    """Complex elements times a complex factor without imaginary part; statistics of magnitudes."""

    def __init__(self, dtype: Dtype, p: float, rescale: bool) -> None:
        self._dtype = dtype.numpy
        self._scale = _scale(dtype, p, rescale)

    def values(self, raw: Raw) -> NDArray[Any]:
        magnitudes: NDArray[Any] = np.abs(raw.view(self._dtype))
        return magnitudes

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        # (a + bi)(f + 0i), spelled out: numpy's own product may fuse roundings on some machines.
        # The products with zero decide the signs of zeros and spread NaN, as in torch.
        elements = raw.view(self._dtype)
        real, imag = elements.real.copy(), elements.imag.copy()
        factor = np.multiply(keep, self._scale, dtype=real.dtype)
        elements.real = real * factor - imag * 0.0
        elements.imag = real * 0.0 + imag * factor
        if not finite:
            _settle_nan(real, elements.real)
            _settle_nan(imag, elements.imag)


class _Float8Kernel:
    """256 possible elements, so a table of results for dropped ones and one for kept ones."""

    def __init__(self, dtype: Dtype, p: float, rescale: bool) -> None:
        elements = np.arange(256, dtype=np.uint8).view(dtype.numpy).astype(np.float32)
        with np.errstate(all="ignore"):
            products = np.concatenate((elements * 0, elements * _scale(dtype, p, rescale)))
            _settle_nan(np.concatenate((elements, elements)), products)
            self._results = _encode_float8(products, dtype)
        self._values = elements

    def values(self, raw: Raw) -> NDArray[Any]:
        values: NDArray[Any] = self._values[raw]
        return values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        raw[:] = self._results[raw + np.multiply(keep, 256, dtype=np.uint16)]


class _IntegerKernel:
    """Integers and bools are never scaled; the fill kernel around it writes the dropped ones."""

    def __init__(self, dtype: Dtype) -> None:
        self._dtype = dtype

    def values(self, raw: Raw) -> NDArray[Any]:
        if self._dtype.kind == "bool":
            ones: NDArray[Any] = (raw != 0).view(np.uint8)
            return ones
        integers: NDArray[Any] = raw.view(self._dtype.numpy)
        return integers

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        pass


class _FillKernel:
    """Another kernel for what is kept; dropped elements become exactly these bits."""

    def __init__(self, kernel: Kernel, element: NDArray[Any]) -> None:
        self._kernel = kernel
        # An element is one unsigned integer, or two for the widest complex dtype.
        self._bits = element.view(f"<u{min(element.itemsize, 8)}")
        self.values = kernel.values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        self._kernel.apply(raw, values, keep, finite)

        # Selecting by bits is several times as fast as `np.where` on a random mask.
        bits = raw.view(self._bits.dtype).reshape(len(keep), -1)
        ones = np.iinfo(self._bits.dtype).max
        bits ^= self._bits
        bits &= np.multiply(keep, ones, dtype=self._bits.dtype)[:, None]
        bits ^= self._bits


class _IdentityKernel:
    """p = 0: the input's own bytes, signalling NaN and all."""

    def __init__(self, kernel: Kernel) -> None:
        self.values = kernel.values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        pass


def _scale(dtype: Dtype, p: float, rescale: bool) -> np.floating[Any]:
    """What kept elements are multiplied by: 1 / (1 - p), rounded to `dtype`.

    torch divides in float64 for F64, else in float32, where 1 - p is rounded first. At p = 1
    nothing is kept.
    """
    wide = np.float64 if dtype.name in ("F64", "C128") else np.float32
    if not rescale or p == 1:
        return wide(1)
    scale = wide(1) / wide(1 - p)
    if dtype.kind == "float8":
        return wide(_encode_float8(np.array([scale]), dtype).view(dtype.numpy)[0])
    with np.errstate(over="ignore"):
        return wide(scale.astype(dtype.numpy)) if dtype.bits == 16 else scale


def _settle_nan(before: NDArray[Any], after: NDArray[Any]) -> None:
    """The same NaN bits on every machine: x86's, so torch's own on most.

    A NaN stays itself, made quiet. One that arises, as infinity times zero, is negative on x86
    and positive elsewhere.
    """
    was_nan = np.isnan(before)
    after[np.isnan(after) & ~was_nan] = np.copysign(np.nan, -1)
    after[was_nan] = before[was_nan] * 1


def _encode_integer(dtype: Dtype, fill: float | int) -> NDArray[Any]:
    low, high = 0, 1
    if dtype.kind == "integer":
        limits = np.iinfo(dtype.numpy)
        low, high = int(limits.min), int(limits.max)
    if fill != int(fill) or not low <= fill <= high:
        raise TensorError(
            "bad-fill", f"expected a fill from {low} to {high} for {dtype.name}, got {fill}"
        )
    return np.array([int(fill)], dtype.numpy)


def _encode_float(dtype: Dtype, fill: float | int) -> NDArray[Any]:
    import ml_dtypes  # whose finfo knows every floating type

    limit = float(ml_dtypes.finfo(dtype.numpy).max)  # type: ignore[no-untyped-call]  # its stubs
    if not -limit <= fill <= limit:
        raise TensorError(
            "bad-fill", f"expected a fill from {-limit:g} to {limit:g} for {dtype.name}, got {fill}"
        )
    return np.array([float(fill)]).astype(dtype.numpy)


def _encode_float8(values: NDArray[np.float32], dtype: Dtype) -> NDArray[np.uint8]:
    """float32 to float8 bytes as torch 2.13 casts: to nearest even; F8_E4M3 saturates."""
    if dtype.name == "F8_E4M3":
        values = np.clip(values, -448, 448)
    encoded = values.astype(dtype.numpy).view(np.uint8)
    if not dtype.name.endswith("FNUZ"):
        nan = np.isnan(values)
        encoded[nan] = np.where(np.signbit(values[nan]), 0xFF, 0x7F)
    return encoded
