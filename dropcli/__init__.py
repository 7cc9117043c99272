"""Dropout for tensors on disk: the same bytes everywhere, in constant memory, nothing ever lost."""

from importlib.metadata import version

__version__ = version("dropcli")

__all__ = ["__version__"]
