"""Checks that apply to every failing command, for all bad inputs."""

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_COMPARED = 1 << 20
_LONGEST_LINE = 2100


@dataclass(frozen=True)
class Refusal:
    """The messages of a failing command."""

    line: str  # without `error: `
    hint: str | None
    code: str | None  # where the command printed JSON


Refuse = Callable[..., Refusal]


def snapshot() -> dict[bytes, Any]:
    """Everything below the current folder: kind, inode, and the content of files."""
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
    before: dict[bytes, Any], exit_code: int, got: int, out: str, err: str
) -> Refusal:
    """Check that the error is one line, the exit code right and all files unchanged; return it."""
    assert got == exit_code, err
    lines = err.splitlines()
    error, *hints = lines
    assert error.startswith("error: ")
    assert len(hints) <= 1
    assert all(line.startswith("hint: ") for line in hints)
    assert all(line.isprintable() and len(line) < _LONGEST_LINE for line in lines)
    assert "Traceback" not in err
    assert snapshot() == before  # no output, no temporary file, and the source as it was
    line = error.removeprefix("error: ")
    hint = hints[0].removeprefix("hint: ") if hints else None
    return Refusal(line, hint, _code(out, hint) if out else None)


def _code(out: str, hint: str | None) -> str:
    """The code in the JSON document, whose messages must equal the lines."""
    document = json.loads(out)
    assert (document["status"], document["files"]) == ("error", [])
    (error,) = document["errors"]
    assert set(error) == {"source", "code", "message", "hint"}
    assert (error["hint"] is None) == (hint is None)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", error["code"])
    return str(error["code"])


def assert_refused(
    refuse: Refuse, data: bytes, code: str, named: str, name: str = "x.pt", *commands: str
) -> None:
    """Assert that a file of these bytes is refused with this code, and with these words."""
    Path(name).write_bytes(data)
    for command in commands or (f"apply {name} -o y.pt",):
        refusal = refuse(*command.split())
        assert refusal.code == code
        assert refusal.line.startswith(f"{name}: ")
        assert all(word in refusal.line for word in named.split())
