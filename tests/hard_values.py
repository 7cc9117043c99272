"""Numbers that are hard for sums, in the dtypes of the kernel in C."""

from typing import Any

import ml_dtypes
import numpy as np
import torch

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
VALUES = (
    "normal", "tiny", "huge", "constant", "far", "alternating", "zeros", "nan", "infinite", "bits"
)  # fmt: skip


def values(kind: str, count: int, dtype: str, seed: int) -> torch.Tensor:
    """Numbers that are hard for sums: cancelling, overflowing, subnormal, or not numbers."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal(count)
    limits: Any = ml_dtypes.finfo(DTYPES[dtype])  # type: ignore[no-untyped-call]
    with np.errstate(all="ignore"):
        match kind:
            case "tiny":
                numbers *= float(limits.smallest_subnormal) * 8
            case "huge":
                numbers *= float(limits.max) / 8
            case "constant":
                numbers = np.full(count, 1 / 3)
            case "far":
                numbers = 1000 + numbers / 8
            case "alternating":
                numbers = np.where(np.arange(count) % 2, 1.0, -1.0) * 1e4
            case "zeros":
                numbers *= random.random(count) < 0.5
            case "nan":
                numbers[random.random(count) < 0.01] = np.nan
            case "infinite":
                numbers[random.random(count) < 0.01] = -np.inf
        if kind == "bits":
            raw = random.bytes(count * np.dtype(DTYPES[dtype]).itemsize)
            return torch.frombuffer(bytearray(raw or b"\0" * 8), dtype=TORCH[dtype])[:count]
    return torch.from_numpy(numbers).to(TORCH[dtype])
