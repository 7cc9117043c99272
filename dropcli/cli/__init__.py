"""The command line: options, commands, and what they show."""

from dropcli.cli.app import main

__all__ = ["main"]
