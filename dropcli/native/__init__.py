"""The kernel in C, if it was compiled: drops a block of floats in place, and counts.

numpy handles the blocks that the kernel cannot, and all blocks where there is no kernel. The bits
are the same.
"""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LIBRARY = Path(__file__).with_name("kernel.so")
# The number of the kind, and the size of an element in bytes.
_KINDS = {"F64": (0, 8), "F32": (1, 4), "F16": (2, 2), "BF16": (3, 2)}
_UNTOUCHED, _UNSUMMED = 1, 2

# The words, and the largest word that drops an element; or whether each element is kept.
Decisions = tuple[NDArray[np.uint32], int] | NDArray[np.bool_]


class Moments(ctypes.Structure):
    """Statistics of a block of finite numbers; `squares` is the sum of squared deviations."""

    mean: float
    squares: float
    low: float
    high: float
    zeros: int

    _fields_ = [  # ctypes needs a list
        *((name, ctypes.c_double) for name in ("mean", "squares", "low", "high")),
        ("zeros", ctypes.c_uint64),
    ]


class _Block(ctypes.Structure):
    _fields_ = [
        ("words", ctypes.c_void_p),
        ("keep", ctypes.c_void_p),
        ("kept", ctypes.c_uint64),
        ("count", ctypes.c_size_t),
        ("scale", ctypes.c_double),
        ("last", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
    ]


class Dropped(NamedTuple):
    """The result for a block; `after` is None if numpy has to summarize it."""

    kept: int
    before: Moments | None
    after: Moments | None


def is_available() -> bool:
    """Whether there is a kernel that `DROPCLI_KERNEL=numpy` does not turn off."""
    return os.environ.get("DROPCLI_KERNEL") != "numpy" and _library() is not None


def has_kernel_for(dtype: str) -> bool:
    """Whether the kernel supports this dtype, by its name in safetensors."""
    return dtype in _KINDS and is_available()


def drop_natively(
    raw: NDArray[np.uint8],
    dtype: str,
    scale: float,
    decisions: Decisions,
    *,
    statistics: bool,
) -> Dropped | None:
    """Drop the elements in `raw` in place; return None, with `raw` unchanged, if that fails.

    The interpreter lock is released during the call.
    """
    library = _library()
    assert library is not None, "see `has_kernel_for`"
    words, last = decisions if isinstance(decisions, tuple) else (None, 0)
    keep = None if isinstance(decisions, tuple) else decisions
    kind, itemsize = _KINDS[dtype]
    block = _Block(_address(words), _address(keep), 0, len(raw) // itemsize, scale, last, kind)
    moments = (Moments(), Moments()) if statistics else (None, None)
    pointers = [ctypes.byref(part) if part else None for part in moments]
    code = library(ctypes.byref(block), ctypes.c_void_p(_address(raw)), *pointers)
    if code == _UNTOUCHED:
        return None
    return Dropped(block.kept, moments[0], moments[1] if code != _UNSUMMED else None)


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.__array_interface__["data"][0]  # the fastest way


@cache
def _library() -> Any | None:
    if sys.byteorder != "little":  # the kernel reads files and words in native order
        return None
    try:
        return ctypes.CDLL(str(_LIBRARY)).drop_block
    except OSError:  # none was built, or it is for another system
        return None
