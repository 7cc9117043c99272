"""The arithmetic of dropout on a run of elements, one kernel per kind of dtype.

A kernel is made once per tensor and works in place on raw bytes, so the loop around it has no
branches on dtypes. Multiplications, divisions and roundings follow torch's CPU kernels.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout.rounding import (
    encode_float,
    encode_float8,
    encode_integer,
    round_to,
    scale_of,
    settle_nan,
    wide,
)
from dropcli.dropout.wrappers import (
    FillKernel,
    IdentityKernel,
    Keep,
    Kernel,
    PartlyIdentityKernel,
    Raw,
)
from dropcli.masks.probability import Array, Share
from dropcli.tensors import Dtype

_ALPHA = 1.7580993408473766  # the scale of SELU times its alpha


@dataclass(frozen=True)
class Arithmetic:
    """What kept and dropped elements become, but for p; `fill` None means as torch computes it."""

    rescale: bool = True
    fill: float | int | None = None
    alpha: bool = False


def make_kernel(
    dtype: Dtype,
    arithmetic: Arithmetic,
    p: float | Array,
    share: Share | None = None,
) -> Kernel:
    """The kernel for tensors of this dtype; TensorError if the fill does not fit it.

    With several p, shape (k,), it is for a run of elements, shape (n,), and `share` gives them
    what is computed for each p.
    """
    p = np.asarray(p)
    kernel = _make_kernel(dtype, arithmetic, p, share)
    if arithmetic.fill is not None and dtype.kind not in ("integer", "bool"):
        kernel = FillKernel(kernel, encode_float(dtype, arithmetic.fill))
    if (p == 0).all():
        return IdentityKernel(kernel)
    if (p == 0).any() and share:
        return PartlyIdentityKernel(kernel, share(p == 0))
    return kernel


def _make_kernel(dtype: Dtype, arithmetic: Arithmetic, p: Array, share: Share | None) -> Kernel:
    if dtype.kind in ("integer", "bool"):
        return FillKernel(_IntegerKernel(dtype), encode_integer(dtype, arithmetic.fill or 0))
    if arithmetic.alpha:
        return _AlphaKernel(dtype, p, share)
    scale = scale_of(dtype, p) if arithmetic.rescale else np.ones_like(p, wide(dtype))
    scale = share(scale) if share else scale
    match dtype.kind:
        case "complex":
            return _ComplexKernel(dtype, scale)
        case "float8":
            return _Float8Kernel(dtype, scale)
        case _:
            return (_HalfKernel if dtype.name == "F16" else _FloatKernel)(dtype, scale)


class _FloatKernel:
    """F64 and F32 in place; F16 and BF16 by way of float32, as torch does."""

    def __init__(self, dtype: Dtype, scale: NDArray[Any]) -> None:
        self._dtype = dtype.numpy
        self._narrow = dtype.bits == 16
        self._scale = scale
        self._finite = bool(np.isfinite(scale).all())

    def values(self, raw: Raw) -> NDArray[Any]:
        elements: NDArray[Any] = raw.view(self._dtype)
        return elements.astype(np.float32) if self._narrow else elements

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        if finite and self._finite:
            values *= np.multiply(keep, self._scale, dtype=values.dtype)
        else:  # in F16 the scale itself is infinite for p just below 1
            before = values.copy()
            values *= np.where(keep, self._scale, values.dtype.type(0))
            settle_nan(before, values)
        if self._narrow:
            raw.view(self._dtype)[:] = values.astype(self._dtype)


class _HalfKernel(_FloatKernel):
    """F16 by tables of all its numbers: numpy converts one at a time, several times as slowly."""

    def values(self, raw: Raw) -> NDArray[Any]:
        return _halves().take(raw.view(np.uint16), mode="clip")

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        if not (finite and self._scaled is not None):
            super().apply(raw, values, keep, finite)
            return
        bits = raw.view(np.uint16)
        scaled = self._scaled.take(bits, mode="clip")
        # Of what is dropped the sign stays, as in a product with zero.
        np.bitwise_and(scaled, np.multiply(keep, 0x7FFF, dtype=np.uint16) | 0x8000, out=bits)

    @cached_property
    def _scaled(self) -> NDArray[np.uint16] | None:
        """What each number becomes where it is kept; None if samples differ in p."""
        if self._scale.ndim or not self._finite:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: NDArray[np.float16] = (_halves() * self._scale).astype(np.float16)
        return scaled.view(np.uint16)


@cache
def _halves() -> NDArray[np.float32]:
    """The number of each 16 bits, shape (65536,)."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


class _ComplexKernel:
    """Complex elements times a complex factor without imaginary part; statistics of magnitudes."""

    def __init__(self, dtype: Dtype, scale: NDArray[Any]) -> None:
        self._dtype = dtype.numpy
        self._scale = scale

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
            settle_nan(real, elements.real)
            settle_nan(imag, elements.imag)


class _Float8Kernel:
    """256 possible elements and as many scales, so a table of all products."""

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
        settle_nan(np.broadcast_to(elements, products.shape), products)
        return encode_float8(products.reshape(-1), dtype)


class _AlphaKernel:
    """Alpha dropout: x * (a * keep) + b, where dropped elements become a negative constant.

    a and b keep the mean and variance of what a SELU makes (Klambauer et al., "Self-Normalizing
    Neural Networks", 2017). The formulas, and where they round, are those of `_dropout_impl` in
    ATen/native/Dropout.cpp of PyTorch 2.13. With p = 1 torch adds nothing.
    """

    def __init__(self, dtype: Dtype, p: Array, share: Share | None) -> None:
        part = np.where(p == 1, 0, p)
        a = 1 / np.sqrt((_ALPHA * _ALPHA * part + 1) * (1 - part))
        shift = round_to(dtype, (_ALPHA * a * part).astype(wide(dtype)))
        fall = round_to(dtype, -(_ALPHA * a).astype(wide(dtype)))
        with np.errstate(invalid="ignore"):  # both may be infinite in F16
            bottom = round_to(dtype, fall + shift)
        none = np.copysign(wide(dtype)(0), wide(dtype)(-1))  # changes nothing, not even a sign
        self._dtype = dtype
        self._scale, self._kept, self._dropped = (
            share(numbers) if share else numbers
            for numbers in (
                round_to(dtype, a.astype(wide(dtype))),
                np.where(p == 1, none, shift),
                np.where(p == 1, none, bottom),
            )
        )
        self._finite = bool(np.isfinite(self._scale).all())

    def values(self, raw: Raw) -> NDArray[Any]:
        elements: NDArray[Any] = raw.view(self._dtype.numpy)
        return elements.astype(np.float32) if self._dtype.bits == 16 else elements

    def apply(self, raw: Raw, values: NDArray[Any], keep: Keep, finite: bool) -> None:
        before = None if finite and self._finite else values.copy()
        # In F16 the scale itself is infinite for p just below 1.
        factor = keep * self._scale if self._finite else np.where(keep, self._scale, 0)
        products = round_to(self._dtype, values * factor)
        products += np.where(keep, self._kept, self._dropped)
        if before is not None:
            settle_nan(before, products)
        raw.view(self._dtype.numpy)[:] = products.astype(self._dtype.numpy)


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
