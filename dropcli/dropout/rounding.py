"""Rounding to a dtype: scales, fills, and NaN, with the same bits on every machine."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.errors import TensorError
from dropcli.tensors import Dtype

Array = NDArray[np.float64]
Raw = NDArray[np.uint8]
Keep = NDArray[np.bool_]
Share = Callable[[NDArray[Any]], NDArray[Any]]


def wide(dtype: Dtype) -> type[np.floating[Any]]:
    """The type in which torch computes: float64 for F64 and C128, otherwise float32."""
    return np.float64 if dtype.name in ("F64", "C128") else np.float32


def round_to(dtype: Dtype, values: NDArray[Any]) -> NDArray[Any]:
    """Values of the wide type, rounded to values of F64, F32, F16 or BF16."""
    if dtype.bits != 16:
        return values
    with np.errstate(over="ignore"):
        return values.astype(dtype.numpy).astype(np.float32)


def scale_of(dtype: Dtype, p: Array) -> NDArray[Any]:
    """The factor of kept elements, 1 / (1 - p), rounded to `dtype`; the shape of p.

    torch divides in float64 for F64, else in float32, where 1 - p is rounded first. At p = 1
    nothing is kept.
    """
    scale = wide(dtype)(1) / np.where(p == 1, 1, 1 - p).astype(wide(dtype))
    if dtype.kind == "float8":
        scales = encode_float8(np.atleast_1d(scale), dtype).view(dtype.numpy).astype(np.float32)
        return scales.reshape(scale.shape)
    return round_to(dtype, scale) if dtype.kind == "float" else scale


def canonicalize_nan(before: NDArray[Any], after: NDArray[Any]) -> None:
    """Give NaN in `after` the bits that x86 gives it, and so torch on most machines.

    A NaN in `before` is kept, but made quiet. A new NaN, such as infinity times zero, becomes
    negative; on other machines it is positive.
    """
    was_nan = np.isnan(before)
    after[np.isnan(after) & ~was_nan] = np.copysign(np.nan, -1)
    after[was_nan] = before[was_nan] * 1


def encode_integer(dtype: Dtype, fill: float | int) -> NDArray[Any]:
    """One element with exactly this value. Raises TensorError if the dtype cannot represent it."""
    low, high = 0, 1
    if dtype.kind == "integer":
        limits = np.iinfo(dtype.numpy)
        low, high = int(limits.min), int(limits.max)
    if fill != int(fill) or not low <= fill <= high:
        raise TensorError(
            "bad-fill", f"--fill {fill}: {dtype.name} can hold integers from {low} to {high}"
        )
    return np.array([int(fill)], dtype.numpy)


def encode_float(dtype: Dtype, fill: float | int) -> NDArray[Any]:
    """The element nearest to this value. Raises TensorError if that is infinite."""
    import ml_dtypes  # its finfo covers every floating type

    limit = float(ml_dtypes.finfo(dtype.numpy).max)  # type: ignore[no-untyped-call]  # its stubs
    if not -limit <= fill <= limit:
        raise TensorError(
            "bad-fill", f"--fill {fill}: {dtype.name} can hold numbers from {-limit:g} to {limit:g}"
        )
    return np.array([float(fill)]).astype(dtype.numpy)


def encode_float8(values: NDArray[Any], dtype: Dtype) -> NDArray[np.uint8]:
    """float32 to float8 bytes as torch 2.13 casts: to nearest even; F8_E4M3 saturates."""
    if dtype.name == "F8_E4M3":
        values = np.clip(values, -448, 448)
    encoded = values.astype(dtype.numpy).view(np.uint8)
    if not dtype.name.endswith("FNUZ"):
        nan = np.isnan(values)
        encoded[nan] = np.where(np.signbit(values[nan]), 0xFF, 0x7F)
    return encoded
