"""A second implementation of the contract: masks from whole keystreams and numpy indices,
arithmetic by torch. Nothing here is imported from the package."""

import hashlib
import math
import os

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
COMPLEX = (torch.complex64, torch.complex128)
FLOAT8 = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
)


def field(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def key(seed: int, stream: str, tensor: str, copy: int = 0) -> bytes:
    parts = [b"dropcli/1", b"%d" % seed, os.fsencode(stream), tensor.encode(), b"%d" % copy]
    return hashlib.sha256(b"".join(map(field, parts))).digest()[:16]


def words(key: bytes, count: int) -> NDArray[np.uint32]:
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(cipher.update(bytes(4 * count)), "<u4")


def chances(
    low: float, high: float, count: int, stream: str, tensor: str = "", seed: int = 3
) -> list[float]:
    """p of the first files or samples, computed with Python floats."""
    parts = [b"dropcli/1/p", b"%d" % seed, os.fsencode(stream), tensor.encode(), b"0"]
    drawn = hashlib.sha256(b"".join(map(field, parts))).digest()[:16]
    return [low + (high - low) * int(word) / 2**32 for word in words(drawn, count)]


def dropped(
    shape: tuple[int, ...], p: float, key: bytes, over: dict[int, int] | None = None
) -> NDArray[np.bool_]:
    """Which elements are dropped, shape `shape`."""
    every = dict.fromkeys(range(len(shape)), 1) if over is None else over
    grid = [-(-size // every[d]) if d in every else 1 for d, size in enumerate(shape)]
    count = math.prod(grid)
    cells = (words(key, count) < math.floor(p * 2**32 + 0.5)).reshape(grid)
    for dimension, size in enumerate(shape):
        cell = np.arange(size) // every[dimension] if dimension in every else np.zeros(size, int)
        cells = np.take(cells, cell, axis=dimension)
    return cells


def dropout(
    x: torch.Tensor,
    drop: NDArray[np.bool_],
    p: float,
    rescale: bool = True,
    fill: float | None = None,
) -> torch.Tensor:
    """The output, as torch computes it on this CPU."""
    keep = torch.from_numpy(np.atleast_1d(~drop)).reshape(x.shape)
    float8 = x.dtype.is_floating_point and x.dtype.itemsize == 1
    if p == 0:
        return x.clone()
    if x.dtype in FLOATS + COMPLEX:
        y = x * (keep.to(x.dtype) / (1 - p) if rescale and p < 1 else keep.to(x.dtype))
    elif float8:
        factor = keep.float() / (1 - p) if rescale and p < 1 else keep.float()
        y = (x.float() * factor.to(x.dtype).float()).to(x.dtype)
    else:
        y = x & keep if x.dtype == torch.bool else x * keep.to(x.dtype)
    if fill is None:
        return y
    if float8:
        return torch.where(keep, y.float(), torch.tensor(fill)).to(x.dtype)
    return torch.where(keep, y, torch.tensor(fill).to(x.dtype))


def equal_bits(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two tensors are the same, signs of zeros and NaN included.

    bfloat16 and complex NaN need only be NaN: torch's own bits differ there between the
    vectorised part of a tensor and its tail.
    """
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    if x.dtype == torch.bfloat16 or x.dtype in COMPLEX:
        a, b = (torch.view_as_real(t) if t.is_complex() else t.float() for t in (x, y))
        integer = {4: torch.int32, 8: torch.int64}[a.element_size()]
        same = (a.contiguous().view(integer) == b.contiguous().view(integer)) | a.isnan()
        return bool(same.all()) and torch.equal(a.isnan(), b.isnan())
    a, b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (x, y))
    return torch.equal(a, b)
