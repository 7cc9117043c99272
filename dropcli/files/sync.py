"""Wait until files are on the disk: many of them at once where the system can."""

import os
from collections.abc import Sequence
from functools import cache

from dropcli.files.system import is_local, libc
from dropcli.parallel import Inline, Threads

_SYNCS = 4  # at once
_MANY = 8  # files for which one wait for the whole file system is the shorter one
_SINCE = (5, 8)  # the Linux whose syncfs reports what it could not write


def sync_files(fds: Sequence[int]) -> list[OSError | None]:
    """Write files to the disk; what went wrong with each.

    The first was opened before the others were written: syncfs reports the errors since then.
    Never retried: after a failed sync the system forgets what was lost.
    """
    if len(fds) >= _MANY and _sync_together(fds):
        return [None] * len(fds)
    with Threads(_SYNCS) if len(fds) > 1 else Inline() as pool:
        return list(pool.map(_sync_one, fds))


def _sync_one(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


def _sync_together(fds: Sequence[int]) -> bool:
    """Whether one wait did for all of these: 40 us a file, where fsync takes 300 to 400."""
    if not (_reports_errors() and is_local(fds[0])):
        return False
    if len({os.fstat(fd).st_dev for fd in fds}) > 1:
        return False
    return bool(libc().syncfs(fds[0]) == 0)  # else each is asked what became of it


@cache
def _reports_errors() -> bool:
    """Whether syncfs reports what it could not write."""
    version = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())
    return hasattr(libc(), "syncfs") and version >= _SINCE
