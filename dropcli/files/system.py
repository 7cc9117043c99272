"""The kind of file system of a file (statfs(2)), on Linux."""

import ctypes
import os
from functools import cache
from typing import Any

# On these, locks work for all who see the file, and syncfs waits for a local disk.
_LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0x01021994}  # ext4, xfs, btrfs, tmpfs
_NFS = 0x6969


def is_local(fd: int) -> bool:
    """Whether a file is on a local disk, with a known file system."""
    return _kind(fd) in _LOCAL


def is_nfs(fd: int) -> bool:
    """Whether a file is on NFS."""
    return _kind(fd) == _NFS


@cache
def libc() -> Any:
    """The C library on Linux; None elsewhere."""
    return ctypes.CDLL(None) if os.uname().sysname == "Linux" else None


def _kind(fd: int) -> int | None:
    about = ctypes.create_string_buffer(256)  # struct statfs begins with the type
    system = libc()
    if system is None or system.fstatfs(fd, about):
        return None
    return ctypes.c_ulong.from_buffer(about).value & 0xFFFFFFFF
