"""Unfinished outputs: hidden files beside their targets, named after the writing process."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dropcli.errors import NOT_SUPPORTED
from dropcli.parallel import signals

_SMALL_BYTES = 1 << 20
_NAME_MAX = 255  # bytes; no common file system allows more
_TEMPORARY = re.compile(r"\..*\.dropcli-([0-9]{1,9})-[0-9a-f]{8}\.tmp", re.DOTALL)


def temporary_name(target: str) -> str:
    """A hidden name beside the target, short enough for any file system."""
    folder, name = os.path.split(os.fsencode(target))
    suffix = f".dropcli-{os.getpid()}-{os.urandom(4).hex()}.tmp".encode()
    return os.fsdecode(os.path.join(folder, b"." + name[: _NAME_MAX - 1 - len(suffix)] + suffix))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is an unfinished output."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale(folder: str, target: str = "") -> None:
    """Remove unfinished outputs of processes that have ended, of all targets or only of one."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.name.startswith(f".{target}") and not _is_alive(int(found[1])):
                with suppress(OSError):
                    os.unlink(entry.path)


@contextmanager
def create_temporary(temporary: str, target: str, size: int) -> Iterator[int]:
    """An open temporary file of `size` bytes, with the owner and mode of the file it replaces.

    It is removed on any exception; a file that already existed is not ours to remove.
    """
    fd = -1
    try:
        with signals.deferred():  # a signal between open() and here would leave the file behind
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(FileNotFoundError):
            old = os.stat(target)
            with suppress(PermissionError):  # only root can change the owner
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


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


def _copy_attributes(target: str, fd: int) -> None:
    """Copy extended attributes, which include access lists, as far as permitted."""
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(target):
                with suppress(OSError):
                    os.setxattr(fd, name, os.getxattr(target, name))


def _reserve(fd: int, size: int) -> None:
    """Find a full disk before long work, if the file system can reserve space."""
    if size > _SMALL_BYTES and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
