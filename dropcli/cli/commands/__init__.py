"""The commands, a module each, which import what they need when they run."""

from dropcli.cli.commands.apply import apply
from dropcli.cli.commands.diff import diff
from dropcli.cli.commands.help import help
from dropcli.cli.commands.info import info
from dropcli.cli.commands.mask import mask
from dropcli.cli.commands.preview import preview
from dropcli.cli.commands.verify import verify

__all__ = ["apply", "diff", "help", "info", "mask", "preview", "verify"]
