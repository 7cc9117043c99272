"""Dropout for tensor files: the same bytes on every machine, in constant memory."""

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
    from dropcli.api import Report, apply, info, mask, preview, verify
    from dropcli.arrays import Dropout, drop, keep_mask
    from dropcli.report import Preview

__all__ = [
    "ArgumentError",
    "DropcliError",
    "Dropout",
    "FileError",
    "FormatError",
    "Preview",
    "Report",
    "TensorError",
    "UsageError",
    "__version__",
    "apply",
    "drop",
    "info",
    "keep_mask",
    "mask",
    "preview",
    "verify",
]

_MODULES = {"Preview": "report", **dict.fromkeys(("Dropout", "drop", "keep_mask"), "arrays")}


def __dir__() -> list[str]:
    """The public names, for completion."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import the functions on first use: `dropcli --help` needs no numpy."""
    if name in __all__:
        module = import_module(f"dropcli.{_MODULES.get(name, 'api')}")
        value = globals()[name] = getattr(module, name)  # `drop` is looked up for each sample
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
