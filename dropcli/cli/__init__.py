"""The command line: what people type and see."""

from dropcli.cli.app import main

__all__ = ["main"]
