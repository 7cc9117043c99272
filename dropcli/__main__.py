"""`dropcli` and `python -m dropcli`."""

import gc
import os
import sys

from dropcli.parallel import signals


def main() -> int:
    """Run the command line; Ctrl-C is heard before the first slow import."""
    signals.install()
    _start_quickly()
    from dropcli.cli import main as run

    return run()


def _start_quickly() -> None:
    """Set what costs a tenth of a short run: BLAS's idle threads spin, imports leave no garbage."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(200_000)


if __name__ == "__main__":
    sys.exit(main())
