"""Publishing a file: the destination is the old file or the new one, never half of it.

A temporary file in the destination's folder is written, counted, synced and renamed, then the
folder is synced. Whatever escapes on the way, Ctrl-C included, removes it.
"""

import errno
import filecmp
import os
import re
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dropcli.errors import FileError, located

_SMALL_BYTES = 1 << 16
_WRITEBACK_BYTES = 32 << 20
_NAME_MAX = 255  # bytes; no common file system allows more
_TEMPORARY = re.compile(r"\..*\.dropcli-([0-9]+)-[0-9a-f]{8}\.tmp", re.DOTALL)


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
            if not os.path.isdir(folder):
                hint = f"mkdir -p {shlex.quote(os.path.dirname(path) or folder)}"
                raise FileError("no-folder", "expected its folder to exist", hint) from None
            return
        if stat.S_ISDIR(mode):
            raise FileError("is-a-directory", "expected a file to write, got a folder")
        if stat.S_ISREG(mode) and not replace:
            raise _exists()
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise FileError("not-a-file", "expected a file or a pipe to write, got a device")


def is_temporary(name: str) -> bool:
    """Whether a file of this name is an unfinished output."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale(folder: str) -> None:
    """Remove unfinished outputs in a folder, of processes that are no more."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and not _is_alive(int(found[1])):
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


@contextmanager
def publish(path: str, *, size: int, replace: bool, adopt: bool = False) -> Iterator[Output]:
    """Write `size` bytes, then publish them as `path`.

    `replace` takes the place of a file that exists; `adopt` is content with one that holds the
    very same bytes, as an earlier run may have left it.

    A symbolic link is written through. Character devices and named pipes, `/dev/null` among them,
    hold nothing that could be lost, and are written as they are.
    """
    check_destination(path, replace=replace or adopt)
    if os.path.exists(path) and not os.path.isfile(path):
        with _open_device(path) as output:
            yield output
        return

    target = os.path.realpath(path)
    temporary = _temporary_name(target)
    try:
        with located(path):
            with _create(temporary, target, size) as fd:
                output = Output(fd, path)
                yield output
                output.flush()
                if output.written != size:
                    raise FileError(
                        "short-write", f"expected {size:,} bytes, got {output.written:,}"
                    )
                os.fsync(fd)  # never retried: after a failure the system forgets what was lost
            if adopt and not replace and _is_same(temporary, target):
                os.unlink(temporary)
            else:
                _rename(temporary, target, replace=replace)
            _sync_folder(os.path.dirname(target))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


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
    """The temporary file: owner and mode of the file it replaces, or what the umask leaves."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(FileNotFoundError):
            old = os.stat(target)
            with suppress(PermissionError):  # only root can give files away
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
        _reserve(fd, size)
        yield fd
    finally:
        os.close(fd)


def _temporary_name(target: str) -> str:
    """A hidden name beside the target, never longer than a file system takes."""
    folder, name = os.path.split(os.fsencode(target))
    suffix = f".dropcli-{os.getpid()}-{secrets.token_hex(4)}.tmp".encode()
    return os.fsdecode(os.path.join(folder, b"." + name[: _NAME_MAX - 1 - len(suffix)] + suffix))


def _reserve(fd: int, size: int) -> None:
    """A full disk is found before the work, where the file system can tell."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _rename(temporary: str, target: str, *, replace: bool) -> None:
    if replace:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, it cannot replace what appeared meanwhile
    except FileExistsError:
        raise _exists() from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(target):  # a file system without links: the next best
            raise _exists() from None
        os.replace(temporary, target)
    else:
        os.unlink(temporary)


def _is_same(temporary: str, target: str) -> bool:
    return os.path.exists(target) and filecmp.cmp(temporary, target, shallow=False)


def _exists() -> FileError:
    return FileError(
        "exists", "expected a new name, got a file that exists", "replace it with --force"
    )


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)
