"""Questions about paths: what exists, whether two are the same file, whether one can be written.

`os.path` answers "no" if the system refuses access: then an unreadable folder looks empty, and a
file looks like a pipe. Here that is an error.
"""

import os
import shlex
import stat

from dropcli.errors import FileError, located

STDIN = "-"
STDOUT = "-"

Identity = tuple[int | str, int | str]  # device and inode, or bucket and key


def mode_of(path: str) -> int | None:
    """The mode of the file at `path`; None if there is none.

    Raises FileError if access is refused.
    """
    with located(path):
        try:
            return os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None


def is_folder(path: str) -> bool:
    """Whether this is a folder, or a link to one."""
    return stat.S_ISDIR(mode_of(path) or 0)


def is_file(path: str) -> bool:
    """Whether this is a regular file, or a link to one."""
    return stat.S_ISREG(mode_of(path) or 0)


def is_special(path: str) -> bool:
    """Whether this is a pipe or a device, which holds no data to lose."""
    return is_special_mode(mode_of(path))


def is_special_mode(mode: int | None) -> bool:
    """Whether this is the mode of a pipe or a device; None is not."""
    return mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_piped(source: str) -> bool:
    """Whether an input is standard input, a pipe or a device."""
    return source == STDIN or is_special(source)


def goes_to_stdout(output: str) -> bool:
    """Whether an output is standard output, as `-` or under another name."""
    if output == STDOUT:
        return True
    try:
        return os.path.samestat(os.stat(output), os.fstat(1)) and not os.path.isfile(output)
    except OSError:
        return False


def place_of(source: str) -> str:
    """The input's name in messages."""
    return "standard input" if source == STDIN else source


def identity_of(status: os.stat_result) -> Identity:
    """An identity that all names of a file or folder share, and no other file has."""
    return status.st_dev, status.st_ino


def identity(path: str) -> Identity | None:
    """The identity of the file at `path`; None if there is none or access is refused."""
    try:
        return identity_of(os.stat(path))
    except OSError:
        return None


def same_file(source: str, output: str) -> bool:
    """Whether an input and an output are the same file, by any links and spellings.

    Pipes and devices are compared by name, because standard input and output may share a socket.
    """
    read = _status(0 if source == STDIN else source)
    written = _status(1 if output == STDOUT else output)
    if read and written and stat.S_ISREG(read.st_mode):
        return os.path.samestat(read, written)
    if (read is None) != (written is None):
        return False
    return STDIN not in (source, output) and os.path.realpath(source) == os.path.realpath(output)


def _status(file: str | int) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def file_exists_error() -> FileError:
    """The error for an output that exists already."""
    return FileError("exists", "the file already exists", "replace it with --force")


def check_destination(path: str, *, replace: bool) -> int | None:
    """The mode of the file at `path`; None if there is none.

    Raises FileError if it cannot be written.
    """
    with located(path):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            target = os.path.realpath(path) if os.path.islink(path) else path
            folder = os.path.dirname(target) or "."
            if not is_folder(folder):
                hint = f"mkdir -p {shlex.quote(folder)}"
                raise FileError("no-folder", "its folder does not exist", hint) from None
            return None
        if stat.S_ISDIR(mode):
            raise FileError("is-a-directory", "cannot write a file here: it is a folder")
        if stat.S_ISREG(mode) and not replace:
            raise file_exists_error()
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise FileError("not-a-file", "cannot write to a block device or a socket")
        return mode


def check_planned_destination(path: str, size: int, *, replace: bool) -> None:
    """Raise FileError if `size` bytes cannot be written to `path`, whose folders may be missing.

    Nothing is created. A file of that size may already hold the same bytes, so it is no error.
    """
    with located(path):
        if os.path.exists(path) and not replace and os.path.getsize(path) != size:
            raise file_exists_error()
        folder = os.path.dirname(path)
        while folder and not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if folder and not os.path.isdir(folder):
            raise FileError("no-folder", f"'{folder}' is a file, not a folder")
