"""Dropout for tensors on disk: the same bytes everywhere, in constant memory, nothing ever lost."""

__version__ = "0.1.0"  # here and nowhere else: asking the installed metadata costs 20 ms

__all__ = ["__version__"]
