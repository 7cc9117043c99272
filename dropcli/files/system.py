"""What kind of file system a file lies on (statfs(2)), where that is Linux."""

import ctypes
import os
from functools import cache
from typing import Any

# Whose locks reach all who see the file, and whose syncfs means the disk.
_LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0x01021994}  # ext4, xfs, btrfs, tmpfs
_NFS = 0x6969


def is_local(fd: int) -> bool:
    """Whether a file lies on a disk of this machine, of a kind that is known."""
    return _kind(fd) in _LOCAL


def is_nfs(fd: int) -> bool:
    """Whether a file lies on another machine's disk, by NFS."""
    return _kind(fd) == _NFS


@cache
def libc() -> Any:
    """The C library of a Linux system, None elsewhere."""
    return ctypes.CDLL(None) if os.uname().sysname == "Linux" else None


def _kind(fd: int) -> int | None:
    about = ctypes.create_string_buffer(256)  # struct statfs, which begins with the type
    system = libc()
    if system is None or system.fstatfs(fd, about):
        return None
    return ctypes.c_ulong.from_buffer(about).value & 0xFFFFFFFF
