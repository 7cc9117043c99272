"""Dropout for tensors on disk: the same bytes everywhere, in constant memory, nothing ever lost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dropcli.__version__ import __version__
from dropcli.errors import (
    ArgumentError,
    DropcliError,
    FileError,
    FormatError,
    TensorError,
    UsageError,
)

if TYPE_CHECKING:
    from dropcli.api import Report, apply, drop, info, keep_mask, verify

__all__ = [
    "ArgumentError",
    "DropcliError",
    "FileError",
    "FormatError",
    "Report",
    "TensorError",
    "UsageError",
    "__version__",
    "apply",
    "drop",
    "info",
    "keep_mask",
    "verify",
]


def __dir__() -> list[str]:
    """What is meant for others, which completion shows."""
    return __all__


def __getattr__(name: str) -> Any:
    """The functions come with numpy, which `dropcli --help` does without."""
    if name in __all__:
        return getattr(import_module("dropcli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
