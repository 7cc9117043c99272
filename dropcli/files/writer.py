"""An open file that is written in order."""

import os
from contextlib import suppress

from dropcli.errors import FileError, located

_SMALL_BYTES = 1 << 16
_WRITEBACK_BYTES = 32 << 20


class Output:
    """An open file that is written in order; `path` is its name in messages.

    `written` counts all bytes passed to `write`; small ones are buffered until `flush`.
    `writeback` starts writing to the disk early, which shortens a sync at the end.
    """

    def __init__(self, fd: int, path: str, *, writeback: bool = False) -> None:
        self._fd = fd
        self._path = path
        self._writeback = writeback
        self._waiting = bytearray()
        self._started = 0  # bytes whose writeback has begun
        self.written = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write data.

        Small data is buffered, because system calls would dominate for small tensors.
        """
        self.written += len(data)
        if len(data) < _SMALL_BYTES:
            self._waiting += data
            if len(self._waiting) >= _SMALL_BYTES:
                self.flush()
        else:
            self.flush()
            self._write(data)
        if self._writeback and self.written - self._started >= _WRITEBACK_BYTES:
            self._start_writeback()

    def flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            self._write(waiting)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        with located(self._path):
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _start_writeback(self) -> None:
        """Start writing to the disk, so that the final fsync is short."""
        if hasattr(os, "posix_fadvise"):
            start, count = self._started, self.written - self._started
            # This queues dirty pages but keeps them in memory for readers.
            with suppress(OSError):
                os.posix_fadvise(self._fd, start, count, os.POSIX_FADV_DONTNEED)
        self._started = self.written


def check_size(output: Output, size: int) -> None:
    """Write buffered data. Raises FileError unless the total is `size` bytes."""
    output.flush()
    if output.written != size:
        raise FileError("short-write", f"wrote {output.written:,} bytes instead of {size:,}")
