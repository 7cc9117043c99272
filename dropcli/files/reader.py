"""An open input. Files are read at any position, pipes in order.

Files are read with `pread` and not mapped into memory: if a mapped file is truncated, the process
that reads it is killed.
"""

import io
import os
import stat
from collections.abc import Iterable
from typing import IO

from dropcli.errors import FileError, FormatError, UsageError
from dropcli.files.paths import STDIN

_SMALL_BYTES = 1 << 18  # of a file that is read whole


class Reader:
    """A file or pipe by its path, `-` for standard input.

    `size` is in bytes, None for a pipe; `on_disk` whether other libraries can open `path`.
    """

    def __init__(self, path: str) -> None:
        if path == STDIN and os.isatty(0):
            raise UsageError(
                "stdin-is-a-terminal",
                "standard input is a terminal, not a tensor file",
                "pipe a file in, or name one instead of `-`",
            )
        self.path = path
        self.fd = os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        self._opened = os.fstat(self.fd)
        if stat.S_ISDIR(self._opened.st_mode):
            raise FileError("is-a-directory", "it is a folder, not a file")
        # Standard input may start in the middle of a file, and other processes share its position.
        self.seekable = self.path != STDIN and stat.S_ISREG(self._opened.st_mode)
        self.on_disk = self.seekable
        self.size = self._opened.st_size if self.seekable else None
        self._position = 0
        self._peeked = b""
        self._head = bytearray()

    def replace(self, file: IO[bytes]) -> None:
        """Read from this file instead."""
        before, self.fd = self.fd, os.dup(file.fileno())
        os.close(before)
        self.path = ""
        self._attach()

    def spool(self) -> None:
        """Copy a pipe into a temporary file, which can be read at any position."""
        import tempfile  # slow to import, and rarely needed

        with tempfile.TemporaryFile() as file:
            file.write(self._peeked)
            while data := os.read(self.fd, 1 << 20):
                file.write(data)
            file.flush()
            self.replace(file)

    def peek(self, count: int) -> bytes:
        """The first `count` bytes, or all if there are fewer, without consuming them."""
        if self.seekable:
            size = self.size or 0
            if len(self._head) < min(count, size):
                head = bytearray(size if size <= _SMALL_BYTES else min(count, size))
                self.read_into(0, memoryview(head))
                self._head = head
            return bytes(self._head[:count])
        while len(self._peeked) < count:
            more = os.read(self.fd, count - len(self._peeked))
            if not more:
                break
            self._peeked += more
        return self._peeked[:count]

    def read(self, offset: int, count: int) -> bytes:
        if self.seekable and offset + count <= len(self._head):
            return bytes(memoryview(self._head)[offset : offset + count])
        buffer = bytearray(count)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset`, which for a pipe must be its position."""
        if self.seekable and offset + len(buffer) <= len(self._head):
            buffer[:] = memoryview(self._head)[offset : offset + len(buffer)]
            return
        done = min(len(self._peeked), len(buffer))
        buffer[:done], self._peeked = self._peeked[:done], self._peeked[done:]
        while done < len(buffer):
            rest, at = [buffer[done:]], offset + done
            count = os.preadv(self.fd, rest, at) if self.seekable else os.readv(self.fd, rest)
            if not count:
                raise too_short(at, offset + len(buffer))
            done += count
        self._position += len(buffer)

    def finish(self) -> None:
        """FormatError if a file changed since it was opened, or a pipe has more bytes."""
        if self.seekable:
            now, before = os.fstat(self.fd), self._opened
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                problem = "the file was changed by another program while it was read"
                raise FormatError("changed-while-read", problem, "run again when it is complete")
        elif self._peeked or os.read(self.fd, 1):
            problem = f"more data follows the {self._position:,} bytes of the file"
            raise FormatError("trailing-data", problem, "were two files joined in the pipe?")

    def file(self) -> IO[bytes]:
        """A separate file object, to read at any position."""
        if self._head and len(self._head) == self.size:
            return io.BytesIO(self._head)
        return os.fdopen(os.dup(self.fd), "rb")

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Announce small ranges (offset, bytes), so that a store can fetch them together."""

    def close(self) -> None:
        os.close(self.fd)


def too_short(size: int, needed: int) -> FormatError:
    """The error for a file that ends too early."""
    problem = f"the file ends after {size:,} bytes, but at least {needed:,} are needed"
    return FormatError("truncated-data", problem, "copy, download or save it again")
