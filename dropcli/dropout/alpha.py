"""Alpha dropout, for networks of SELU units: `--alpha`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout.rounding import Array, Keep, Raw, Share, round_to, settle_nan, wide
from dropcli.tensors import Dtype

_ALPHA = 1.7580993408473766  # the scale of SELU times its alpha


class AlphaKernel:
    """Alpha dropout: x * (a * keep) + b, where dropped elements become a negative constant.

    a and b keep the mean and variance of what a SELU makes (Klambauer et al., "Self-Normalizing
    Neural Networks", 2017). The formulas, and where they round, are those of `_dropout_impl` in
    ATen/native/Dropout.cpp of PyTorch 2.13. With p = 1 torch adds nothing.
    """

    factor: float | None = None

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
