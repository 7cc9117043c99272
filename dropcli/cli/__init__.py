"""The command line: what people type and see."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    from dropcli.cli.app import main as run  # late: others need only the values

    return run(argv)
