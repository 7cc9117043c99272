"""`dropcli` and `python -m dropcli`."""

import gc
import os
import sys


def main() -> int:
    """Run the command line; signals are handled before the first slow import."""
    if os.name == "nt":  # where the imports below fail
        sys.stderr.write("error: Windows is not supported; use WSL\n")
        return 1
    try:
        from dropcli.parallel import signals

        signals.install()
        _start_quickly()
        from dropcli.cli import main as run
    except (ImportError, MemoryError, SyntaxError) as error:
        what = str(error) or "out of memory"
        sys.stderr.write(f"error: dropcli cannot be loaded: {what}\nhint: is enough memory free?\n")
        return 1

    code = run()
    gc.freeze()  # the interpreter would look for cycles in all that was loaded before it ends
    return code


def _start_quickly() -> None:
    """Save a tenth of a short run: idle threads of BLAS spin, and imports leave no garbage."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(200_000)


if __name__ == "__main__":
    sys.exit(main())
