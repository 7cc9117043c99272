"""The arithmetic of dropout on a run of elements, one kernel per kind of dtype.

A kernel is made once per tensor and works in place on raw bytes, so the loop around it has no
branches on dtypes. Multiplications, divisions and roundings follow torch's CPU kernels.
"""

from collections.abc import Callable
from functools import cache, cached_property, lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout.rounding import (
    Array,
    Keep,
    Raw,
    Share,
    canonicalize_nan,
    encode_float,
    encode_float8,
    encode_integer,
    round_to,
    scale_of,
    wide,
)
from dropcli.dropout.settings import Dropout
from dropcli.tensors import Dtype

_ALPHA = 1.7580993408473766  # SELU: scale times alpha


class Kernel(Protocol):
    """How elements of one dtype are read as numbers, and dropped.

    `factor` is what kept ones are multiplied by, and dropped ones by 0, where that is all.
    """

    factor: float | None

    def values(self, raw: Raw) -> NDArray[Any]:
        """The elements as real numbers for statistics, shape (n,); may be a view of `raw`."""

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        """Drop elements of `raw` in place.

        `values` is the result of `values(raw)`, and may be overwritten; `finite` says that none of
        them is NaN or infinite.
        """


@lru_cache(maxsize=64)  # a kernel holds no data, so thousands of small files can share one
def fixed_kernel(dropout: Dropout, dtype: Dtype, p: float) -> Kernel:
    """The kernel for tensors of this dtype with one p for all elements.

    Raises:
        TensorError: the fill does not fit the dtype.
    """
    return kernel_for(dropout, dtype, np.asarray(p))


def reader_for(dtype: Dtype) -> Callable[[Raw], NDArray[Any]]:
    """How elements of a dtype are read as real numbers, for statistics."""
    return fixed_kernel(Dropout(p=0.0), dtype, 0.0).values


def kernel_for(dropout: Dropout, dtype: Dtype, p: Array, share: Share | None = None) -> Kernel:
    """The kernel for elements of this dtype; TensorError if the fill does not fit it.

    With several p, shape (k,), it is for a run of elements, shape (n,); `share` repeats what is
    computed for each p, shape (k,) to (n,).
    """
    kernel = _plain_kernel(dropout, dtype, p, share)
    if dropout.fill is not None and dtype.kind not in ("integer", "bool"):
        kernel = _FillKernel(kernel, encode_float(dtype, dropout.fill))
    return _IdentityKernel(kernel.values) if (p == 0).all() else kernel


def _plain_kernel(dropout: Dropout, dtype: Dtype, p: Array, share: Share | None) -> Kernel:
    if dtype.kind in ("integer", "bool"):
        kept = _IdentityKernel(partial(_integers, dtype))
        return _FillKernel(kept, encode_integer(dtype, dropout.fill or 0))
    if dropout.alpha:
        return _AlphaKernel(dtype, p, share)
    scale = scale_of(dtype, p) if dropout.rescale else np.ones_like(p, wide(dtype))
    scale = share(scale) if share else scale
    match dtype.kind:
        case "complex":
            return _ComplexKernel(dtype, scale)
        case "float8":
            return _Float8Kernel(dtype, scale)
        case _:
            return (_HalfKernel if dtype.name == "F16" else _FloatKernel)(dtype, scale)


class _FloatKernel:
    """F64 and F32 in place; F16 and BF16 through float32, as in torch."""

    def __init__(self, dtype: Dtype, scale: NDArray[Any]) -> None:
        self._dtype = dtype
        self._scale = scale
        self._finite = bool(np.isfinite(scale).all())  # in F16 not for p just below 1
        self.factor = float(scale) if self._finite and not scale.ndim else None

    def values(self, raw: Raw) -> NDArray[Any]:
        elements: NDArray[Any] = raw.view(self._dtype.numpy)
        return elements.astype(np.float32) if self._dtype.bits == 16 else elements

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        if finite and self._finite:
            values *= np.multiply(keep, self._scale, dtype=values.dtype)
        else:
            before = values.copy()
            values *= np.where(keep, self._scale, values.dtype.type(0))
            canonicalize_nan(before, values)
        if self._dtype.bits == 16:
            raw.view(self._dtype.numpy)[:] = values.astype(self._dtype.numpy)


class _HalfKernel(_FloatKernel):
    """F16 by tables of all its values, several times as fast as the conversions of numpy."""

    def values(self, raw: Raw) -> NDArray[Any]:
        return _halves().take(raw.view(np.uint16), mode="clip")

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        if not (finite and self._scaled is not None):
            super().apply(raw, values, keep, finite)
            return
        bits = raw.view(np.uint16)
        scaled = self._scaled.take(bits, mode="clip")
        # Dropped elements keep their sign, as in a product with zero.
        np.bitwise_and(scaled, np.multiply(keep, 0x7FFF, dtype=np.uint16) | 0x8000, out=bits)

    @cached_property
    def _scaled(self) -> NDArray[np.uint16] | None:
        """The kept value of each number, as bits; None if samples differ in p."""
        if self._scale.ndim or not self._finite:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: NDArray[np.float16] = (_halves() * self._scale).astype(np.float16)
        return scaled.view(np.uint16)


@cache
def _halves() -> NDArray[np.float32]:
    """The value of each F16 bit pattern, shape (65536,)."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


class _AlphaKernel(_FloatKernel):
    """Alpha dropout: x * (a * keep) + b, where dropped elements become a negative constant.

    a and b keep the mean and variance of the outputs of SELU (Klambauer et al., "Self-Normalizing
    Neural Networks", 2017). Formulas and roundings are those of `_dropout_impl` in
    ATen/native/Dropout.cpp of PyTorch 2.13. With p = 1, torch adds nothing.
    """

    def __init__(self, dtype: Dtype, p: Array, share: Share | None) -> None:
        part = np.where(p == 1, 0, p)
        a = 1 / np.sqrt((_ALPHA * _ALPHA * part + 1) * (1 - part))
        shift = round_to(dtype, (_ALPHA * a * part).astype(wide(dtype)))
        fall = round_to(dtype, -(_ALPHA * a).astype(wide(dtype)))
        with np.errstate(invalid="ignore"):  # both may be infinite in F16
            bottom = round_to(dtype, fall + shift)
        none = np.copysign(wide(dtype)(0), wide(dtype)(-1))  # adding -0.0 keeps even signs of zero
        scale, self._kept, self._dropped = (
            share(numbers) if share else numbers
            for numbers in (
                round_to(dtype, a.astype(wide(dtype))),
                np.where(p == 1, none, shift),
                np.where(p == 1, none, bottom),
            )
        )
        super().__init__(dtype, scale)
        self.factor = None

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        before = None if finite and self._finite else values.copy()
        factor = keep * self._scale if self._finite else np.where(keep, self._scale, 0)
        products = round_to(self._dtype, values * factor)
        products += np.where(keep, self._kept, self._dropped)
        if before is not None:
            canonicalize_nan(before, products)
        raw.view(self._dtype.numpy)[:] = products.astype(self._dtype.numpy)


class _ComplexKernel:
    """Complex elements times a real factor as a complex number; statistics of magnitudes."""

    factor: float | None = None

    def __init__(self, dtype: Dtype, scale: NDArray[Any]) -> None:
        self._dtype = dtype.numpy
        self._scale = scale

    def values(self, raw: Raw) -> NDArray[Any]:
        magnitudes: NDArray[Any] = np.abs(raw.view(self._dtype))
        return magnitudes

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        # (a + bi)(f + 0i) in parts: numpy's own product may fuse roundings on some machines.
        # The products with zero decide the signs of zeros and spread NaN, as in torch.
        elements = raw.view(self._dtype)
        real, imag = elements.real.copy(), elements.imag.copy()
        factor = np.multiply(keep, self._scale, dtype=real.dtype)
        elements.real = real * factor - imag * 0.0
        elements.imag = real * 0.0 + imag * factor
        if not finite:
            canonicalize_nan(real, elements.real)
            canonicalize_nan(imag, elements.imag)


class _Float8Kernel:
    """A table of all products of the 256 elements and 256 scales."""

    factor: float | None = None

    def __init__(self, dtype: Dtype, scale: NDArray[Any]) -> None:
        self._products = _float8_products(dtype)
        self._row = scale.astype(dtype.numpy).view(np.uint8).astype(np.uint16) << 8
        self._values = np.arange(256, dtype=np.uint8).view(dtype.numpy).astype(np.float32)

    def values(self, raw: Raw) -> NDArray[Any]:
        values: NDArray[Any] = self._values[raw]
        return values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        raw[:] = self._products[raw + keep * self._row]


@cache
def _float8_products(dtype: Dtype) -> NDArray[np.uint8]:
    """The product of a scale and an element, at 256 * scale + element; scale 0 stands for 0."""
    elements = np.arange(256, dtype=np.uint8).view(dtype.numpy).astype(np.float32)
    with np.errstate(all="ignore"):
        products = np.outer(elements, elements)
        canonicalize_nan(np.broadcast_to(elements, products.shape), products)
        return encode_float8(products.reshape(-1), dtype)


class _FillKernel:
    """Dropped elements become exactly these bits; another kernel does the kept ones."""

    factor: float | None = None

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
    """Keeps the bytes of the input, signalling NaN included: for p = 0 and for integers."""

    factor: float | None = None

    def __init__(self, values: Callable[[Raw], NDArray[Any]]) -> None:
        self.values = values

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        pass


def _integers(dtype: Dtype, raw: Raw) -> NDArray[Any]:
    """Integers as they are; bools as 0 and 1, whatever byte a True is."""
    values: NDArray[Any] = raw.view(dtype.numpy)
    return (values != 0).view(np.uint8) if dtype.kind == "bool" else values
