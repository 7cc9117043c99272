"""Unfinished outputs: hidden files beside their targets, with the host and the run in their names.

The writer holds a lock on its file until the file is renamed. If the process dies, the system
releases the lock. So a file without a lock is stale, whichever container or host wrote it, if locks
work between them: on local disks they do, on network disks they may not.
"""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dropcli.errors import NOT_SUPPORTED
from dropcli.files.system import is_local, is_nfs
from dropcli.parallel import signals

try:
    import fcntl
except ImportError:  # on Windows, which is not supported
    fcntl = None  # type: ignore[assignment]

_SMALL_BYTES = 1 << 20
_NAME_MAX = 255  # bytes; no common file system allows more
_HOST = re.sub("[^A-Za-z0-9.]", "_", os.uname().nodename)[:32]
_TEMPORARY = re.compile(r"\..*\.dropcli-([^-/]+)-([0-9a-f]{8})-[0-9a-f]{8}\.tmp", re.DOTALL)
_ABANDONED = 24 * 3600  # seconds without a write, where locks may not work


def new_run() -> str:
    """A random name for a run, which is part of the names of its unfinished outputs."""
    return os.urandom(4).hex()


def is_temporary(name: str) -> bool:
    """Whether a file of this name is an unfinished output."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale(folder: str, target: str = "", run: str = "") -> None:
    """Remove unfinished outputs of processes that have ended, for all targets or only one.

    Files of `run` are known to be stale, even where locks do not work.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.name.startswith(f".{target}"):
                with suppress(OSError):
                    _remove_unlocked(
                        entry.path, certain=found[2] == run, same_host=found[1] == _HOST
                    )


def _remove_unlocked(path: str, *, certain: bool, same_host: bool) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        certain = certain or time.time() - os.fstat(fd).st_mtime > _ABANDONED
        if (_lock(fd, exclusive=False) and (same_host or is_local(fd))) or certain:
            os.unlink(path)
    finally:
        os.close(fd)


def _lock(fd: int, *, exclusive: bool) -> bool:
    """Lock a file while it is open; return False if the system cannot.

    Raises BlockingIOError if another process holds a lock. On network disks, a write lock needs a
    file that is open for writing, and a read lock one that is open for reading.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _name_beside(target: str, run: str) -> str:
    """A hidden name beside the target, short enough for any file system."""
    folder, name = os.path.split(os.fsencode(target))
    suffix = f".dropcli-{_HOST}-{run}-{os.urandom(4).hex()}.tmp".encode()
    return os.fsdecode(os.path.join(folder, b"." + name[: _NAME_MAX - 1 - len(suffix)] + suffix))


def _create(target: str, run: str) -> tuple[str, int]:
    """Create a locked file; return its name and its descriptor."""
    while True:
        path = _name_beside(target, run)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with suppress(BlockingIOError):  # a concurrent cleanup locked it first, to remove it
                _lock(fd, exclusive=True)
                if os.fstat(fd).st_nlink:
                    return path, fd
        except BaseException:
            _discard(path, fd)
            raise
        os.close(fd)


def _discard(path: str, fd: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(fd)


@contextmanager
def create_temporary(
    target: str, size: int, run: str, *, replaces: bool
) -> Iterator[tuple[str, int]]:
    """A locked temporary file of `size` bytes; it gets owner and mode of a file it replaces.

    It is removed on any exception.
    """
    temporary, fd = "", -1
    try:
        with signals.deferred():  # a signal between open() and here would leave the file behind
            temporary, fd = _create(target, run)
        if replaces:
            _copy_owner(target, fd)
        _reserve(fd, size)
        yield temporary, fd
    except BaseException:
        if fd >= 0:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def _copy_owner(target: str, fd: int) -> None:
    """Copy owner, mode and attributes, unless the file was removed."""
    with suppress(FileNotFoundError):
        old = os.stat(target)
        with suppress(PermissionError):  # only root can change the owner
            os.fchown(fd, old.st_uid, old.st_gid)
        os.fchmod(fd, stat.S_IMODE(old.st_mode))
        _copy_attributes(target, fd)


def _copy_attributes(target: str, fd: int) -> None:
    """Copy extended attributes, including access lists, as far as permitted."""
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(target):
                with suppress(OSError):
                    os.setxattr(fd, name, os.getxattr(target, name))


def _reserve(fd: int, size: int) -> None:
    """Find a full disk before long work, if the file system can reserve space."""
    # If the system cannot reserve space, the C library writes every block, also over a network.
    if size > _SMALL_BYTES and hasattr(os, "posix_fallocate") and not is_nfs(fd):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
