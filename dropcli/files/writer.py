"""An open file that is written in order."""

import os
from contextlib import suppress

from dropcli.errors import located

_SMALL_BYTES = 1 << 16
_WRITEBACK_BYTES = 32 << 20


class Output:
    """An open file that is written in order; `path` is its name in messages.

    `written` counts what was taken, of which small things may wait for `flush`.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._waiting = bytearray()
        self._started = 0  # bytes on their way to the disk
        self.written = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take all of it; a system call for each of many small tensors would cost the most."""
        self.written += len(data)
        if len(data) < _SMALL_BYTES:
            self._waiting += data
            if len(self._waiting) >= _SMALL_BYTES:
                self.flush()
        else:
            self.flush()
            self._write(data)
        if self.written - self._started >= _WRITEBACK_BYTES:
            self._start_writeback()

    def flush(self) -> None:
        """Give the system what is waiting."""
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            self._write(waiting)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        """However much the system takes at a time."""
        rest = memoryview(data)
        with located(self._path):
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _start_writeback(self) -> None:
        """Have the system write to the disk while we compute, or all of it waits for the fsync."""
        if hasattr(os, "posix_fadvise"):
            start, count = self._started, self.written - self._started
            # What is still dirty is not dropped by this, only queued: readers find it in memory.
            with suppress(OSError):
                os.posix_fadvise(self._fd, start, count, os.POSIX_FADV_DONTNEED)
        self._started = self.written
