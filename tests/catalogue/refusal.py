"""What holds whenever a command fails, checked in one place for every bad input."""

import os
import stat
from collections.abc import Callable
from typing import Any

Refuse = Callable[..., str]
_MOST_COMPARED = 1 << 20
_LONGEST_LINE = 2100


def snapshot() -> dict[bytes, Any]:
    """Everything below the current folder: what kind, which inode, and for files what is in it."""
    found = {}
    for folder, folders, files in os.walk(b"."):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            facts: tuple[Any, ...] = (status.st_mode, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                facts += (status.st_size, status.st_mtime_ns)
                if status.st_size <= _MOST_COMPARED:
                    with open(path, "rb") as file:
                        facts += (file.read(),)
            found[path] = facts
    return found


def check_refusal(
    before: dict[bytes, Any], code: int, got: int, out: str, err: str, notes: int = 0
) -> str:
    """The error's line, if it is one line, the exit code is right and nothing was touched.

    `notes` lines may come before it.
    """
    assert got == code, err
    assert out == ""
    lines = err.splitlines()
    error, *hint = lines[notes:]
    assert error.startswith("error: ")
    assert len(hint) <= 1
    assert all(line.startswith("hint: ") for line in hint)
    assert all(line.isprintable() and len(line) < _LONGEST_LINE for line in lines)
    assert "Traceback" not in err
    assert snapshot() == before  # no output, no temporary, and the source as it was
    return error
