"""Publishing a file: the destination is the old file or the new one, never half of it.

A temporary file in the destination's folder is written, counted, synced and renamed, then the
folder is synced. Whatever escapes on the way, Ctrl-C included, removes it.
"""

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dropcli.errors import FileError, located
from dropcli.files.commit import Finished, Group, exists
from dropcli.files.paths import is_folder, is_special
from dropcli.files.temporary import remove_stale, temporary_name
from dropcli.parallel.signals import held

_SMALL_BYTES = 1 << 16
_WRITEBACK_BYTES = 32 << 20
_SMALL_FILE = 1 << 20


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


def check_destination(path: str, *, replace: bool) -> None:
    """FileError if something is in the way of writing `path`."""
    with located(path):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            folder = os.path.dirname(os.path.realpath(path))
            if not is_folder(folder):
                hint = f"mkdir -p {shlex.quote(os.path.dirname(path) or folder)}"
                raise FileError("no-folder", "expected its folder to exist", hint) from None
            return
        if stat.S_ISDIR(mode):
            raise FileError("is-a-directory", "expected a file to write, got a folder")
        if stat.S_ISREG(mode) and not replace:
            raise exists()
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise FileError("not-a-file", "expected a file or a pipe to write, got a device")


def make_folders(path: str) -> None:
    """Make a folder and those it lies in, however many; os.makedirs calls itself for each."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process was quicker, or a file is in the way
            os.mkdir(folder)


@contextmanager
def publish(
    path: str, *, size: int, replace: bool, adopt: bool = False, group: Group | None = None
) -> Iterator[Output]:
    """Write `size` bytes, then publish them as `path`, or leave that to the group.

    `replace` takes the place of a file that exists; `adopt` is content with one that holds the
    very same bytes, as an earlier run may have left it.

    A symbolic link is written through. Character devices and named pipes, `/dev/null` among them,
    hold nothing that could be lost, and are written as they are.
    """
    check_destination(path, replace=replace or adopt)
    if is_special(path):
        with _open_device(path) as output:
            yield output
        return

    target = os.path.realpath(path)
    if group is None:  # a dataset sees to that by itself
        remove_stale(os.path.dirname(target), os.path.basename(target))
    temporary = temporary_name(target)
    with located(path), _create(temporary, target, size) as fd:
        output = Output(fd, path)
        yield output
        output.flush()
        if output.written != size:
            raise FileError("short-write", f"expected {size:,} bytes, got {output.written:,}")
        together = group or Group()
        together.add(Finished(path, fd, temporary, target, replace, adopt))
        if group is None:
            for error in together.commit().values():
                raise error


@contextmanager
def _open_device(path: str) -> Iterator[Output]:
    with located(path):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            output = Output(fd, path)
            yield output
            output.flush()
        finally:
            os.close(fd)


@contextmanager
def _create(temporary: str, target: str, size: int) -> Iterator[int]:
    """The temporary file: owner and mode of the file it replaces, or what the umask leaves.

    It is removed if anything escapes; one that was there before is somebody else's.
    """
    fd = -1
    try:
        with held():  # or a signal would find it made, and nobody to know
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(FileNotFoundError):
            old = os.stat(target)
            with suppress(PermissionError):  # only root can give files away
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
            _copy_attributes(target, fd)
        _reserve(fd, size)
        yield fd
    except BaseException:
        if fd >= 0:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def _copy_attributes(target: str, fd: int) -> None:
    """Extended attributes, access lists among them, as far as the system lets us."""
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(target):
                with suppress(OSError):
                    os.setxattr(fd, name, os.getxattr(target, name))


def _reserve(fd: int, size: int) -> None:
    """A full disk is found before long work, where the file system can tell."""
    if size > _SMALL_FILE and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
