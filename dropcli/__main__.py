"""`dropcli` and `python -m dropcli`."""

import sys

from dropcli import signals


def main() -> int:
    """Run the command line; Ctrl-C is heard before the first slow import."""
    signals.hold()
    from dropcli.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
