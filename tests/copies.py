"""Start runs of the command quickly, as forks of a process that has loaded it.

    python -m tests.copies

Reads a line of JSON for each run and writes two: the id of its process, and its exit code.
"""

import json
import os
import sys

from dropcli import apply  # with everything that a run needs, so that forks load nothing
from dropcli.__main__ import main

__all__ = ["apply"]


def serve() -> int:
    """Start one run after the other; return, in the process of a run, its exit code."""
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            return _become(**json.loads(line))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def _become(words: list[str], errors: str, variables: dict[str, str]) -> int:
    """A run with these words, its messages in a file."""
    for number, path in enumerate((os.devnull, os.devnull, errors)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.update(variables)
    sys.argv = ["dropcli", *words]
    return main()


if __name__ == "__main__":
    sys.exit(serve())
