"""What is at a path: a file, a folder, something else, or nothing.

`os.path` answers no where the system does not say, and then a folder that cannot be looked at is
taken for an empty one, and a file for a pipe. Here that is an error.
"""

import os
import stat

from dropcli.errors import located


def mode_of(path: str) -> int | None:
    """The mode of what is there, None for nothing; FileError where the system does not say."""
    with located(path):
        try:
            return os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None


def is_folder(path: str) -> bool:
    """Whether there is a folder, or a link to one."""
    return stat.S_ISDIR(mode_of(path) or 0)


def is_file(path: str) -> bool:
    """Whether there is a regular file, or a link to one."""
    return stat.S_ISREG(mode_of(path) or 0)


def is_special(path: str) -> bool:
    """Whether there is a pipe or a device, which holds nothing that could be lost."""
    mode = mode_of(path)
    return mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
