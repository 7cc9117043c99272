"""Faults of the system: the n-th call on files below a folder fails.

Nothing in the package knows of it. The functions of `os` that it calls are replaced for a while,
and `open` by one that reads through them, so that every read of a file is a call that can fail.
"""

import builtins
import errno
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Calls by what their first argument is: a path, or the number of an open file. What removes a
# temporary file is apart: where that fails, it stays.
_OF_PATHS = ("open", "stat", "lstat", "readlink", "mkdir", "scandir", "link", "rename", "replace")
_OF_FILES = (
    *("read", "pread", "readv", "preadv", "write", "fsync", "fstat", "fchmod", "fchown", "dup"),
    *("close", "ftruncate", "posix_fallocate", "posix_fadvise"),
)
_REMOVING = ("unlink", "remove")
FAULTS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR)
_AFTERWARDS = ("close",)  # the descriptor is closed even if close fails


class Faults:
    """Counts calls, and makes one of them fail, or all reads and writes incomplete."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        self._number = 0
        self._error: int | None = None
        self.count = 0
        self.hit = ""  # the call that failed
        self.shorten = False

    def arm(self, number: int, error: int) -> None:
        """Make the call with this number fail, counting from 1."""
        self.count, self._number, self._error, self.hit = 0, number, error, ""

    def concern(self, where: Any) -> bool:
        """Whether a call is about a file below the folder, which is also the working folder."""
        try:
            path = _LINK(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where)
        except (OSError, TypeError):
            return False
        text = os.fsdecode(path)
        relative = not text.startswith("/") and not isinstance(where, int)  # else of a pipe
        return relative or text.startswith(self._folder)

    def fails(self, name: str, where: Any) -> bool:
        """Count a call; return whether it is the one that fails."""
        if not self.concern(where):
            return False
        self.count += 1
        if self.count != self._number:
            return False
        self.hit = name
        return True

    def error(self, where: Any) -> OSError:
        """What the call that fails raises."""
        number = self._error or 0
        named = where if isinstance(where, str | bytes) else None
        return OSError(number, os.strerror(number), named)


_LINK = os.readlink


@contextmanager
def faults_below(folder: Path) -> Iterator[Faults]:
    """Replace the system's calls by ones that can fail."""
    faults = Faults(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*_OF_PATHS, *_OF_FILES, *_REMOVING):
            patch.setattr(os, name, _failing(faults, name, getattr(os, name)))
        patch.setattr(fcntl, "flock", _failing(faults, "flock", fcntl.flock))
        patch.setattr(builtins, "open", _opener(faults, builtins.open))
        yield faults


def _failing(faults: Faults, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        where = arguments[0] if arguments else "."
        fails = faults.fails(name, where)
        if fails and name in _AFTERWARDS:
            call(*arguments, **keywords)
        if fails:
            raise faults.error(where)
        if faults.shorten and faults.concern(where):
            arguments = _shortened(name, arguments)
        return None if name == "fsync" else call(*arguments, **keywords)  # the disk is not ours

    return wrapped


def _shortened(name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same call for only one or a few of the requested bytes."""
    if name == "write":
        number, data = arguments
        return number, memoryview(data)[:7]
    if name in ("read", "pread"):
        number, count, *more = arguments
        return number, min(count, 5), *more
    if name in ("readv", "preadv"):
        number, buffers, *more = arguments
        return number, [memoryview(buffers[0])[:5]], *more
    return arguments


class _Raw(io.RawIOBase):
    """A file for reading, through the functions of `os`."""

    def __init__(self, number: int, closefd: bool) -> None:
        self._number, self._closefd = number, closefd

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return os.lseek(self._number, offset, whence)

    def readinto(self, buffer: Any) -> int:
        return os.readv(self._number, [memoryview(buffer)])

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._closefd:
                os.close(self._number)


def _opener(faults: Faults, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(
        file: Any, mode: str = "r", *more: Any, closefd: bool = True, **keywords: Any
    ) -> Any:
        if mode != "rb" or not faults.concern(file):
            return call(file, mode, *more, closefd=closefd, **keywords)
        number = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        return io.BufferedReader(_Raw(number, closefd))

    return wrapped
