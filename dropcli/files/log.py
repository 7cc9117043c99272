"""A file of lines that only grows. One run at a time may hold it."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from weakref import WeakSet

from dropcli.errors import NOT_SUPPORTED, FileError

try:
    import fcntl
except ImportError:  # on Windows, which is not supported
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = NOT_SUPPORTED | {errno.ENOLCK}


class Log(ABC):
    """Lines in a file, or in objects of a store."""

    @abstractmethod
    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The complete lines at the time of opening, with their places for `line_at`."""

    @abstractmethod
    def line_at(self, place: int) -> bytes: ...

    @abstractmethod
    def append(self, line: bytes) -> None:
        """Add a line; it is durable after `sync`."""

    @abstractmethod
    def sync(self) -> None: ...

    @abstractmethod
    def remove(self) -> None:
        """Remove the file with all its lines."""

    @abstractmethod
    def close(self) -> None:
        """Release the log, so that other runs can hold it."""


class FileLog(Log):
    """A local file that is locked while it is open.

    `fresh` starts an empty file; if one exists, that is an error unless `replace`. `read_only`
    changes nothing and takes no lock. Without `waits`, `sync` does not wait for the disk.
    """

    def __init__(
        self, path: str, *, fresh: bool, replace: bool, read_only: bool, waits: bool
    ) -> None:
        self._path, self._read_only, self._waits = path, read_only, waits
        writing = os.O_RDWR | os.O_CREAT | os.O_APPEND
        flags = (os.O_RDONLY | os.O_NONBLOCK if read_only else writing) | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise FileError("not-a-file", "the journal is not a regular file")
            if not read_only:
                self._lock(empty=fresh and not replace)
                if fresh and os.fstat(self._fd).st_size:
                    os.ftruncate(self._fd, 0)
        except BaseException:
            os.close(self._fd)
            raise
        _held.add(self)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        with open(self._fd, "rb", closefd=False) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                yield offset, line
                offset += len(line)
        if not self._read_only and offset != os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, offset)  # removes an incomplete line

    def line_at(self, place: int) -> bytes:
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(place)
            return file.readline()

    def append(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        if self._waits:
            os.fsync(self._fd)

    def remove(self) -> None:
        os.unlink(self._path)

    def close(self) -> None:
        _held.discard(self)
        os.close(self._fd)

    def close_in_fork(self) -> None:
        """Close it in a fork, which would otherwise keep the lock when this process is killed."""
        os.close(self._fd)

    def _lock(self, *, empty: bool) -> None:
        """Raise FileError if another run holds the file, or has written it since the check."""
        try:
            if fcntl is not None:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use() from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        ours = os.fstat(self._fd)
        with suppress(FileNotFoundError):
            if os.path.samestat(ours, os.stat(self._path)) and not (empty and ours.st_size):
                return
        raise in_use()


def check_idle(path: str) -> None:
    """Raise FileError if another run holds this file, if locks can show it."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise in_use() from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(fd)


def in_use() -> FileError:
    """The error for a folder to which another run writes."""
    return FileError("in-use", "another run is writing to this folder")


_held: "WeakSet[FileLog]" = WeakSet()


def _close_in_fork() -> None:
    for log in _held:
        log.close_in_fork()


os.register_at_fork(after_in_child=_close_in_fork)
