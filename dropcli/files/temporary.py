"""Names of unfinished outputs: hidden, beside their targets, with the process that writes them."""

import os
import re
import secrets
from contextlib import suppress

_NAME_MAX = 255  # bytes; no common file system allows more
_TEMPORARY = re.compile(r"\..*\.dropcli-([0-9]+)-[0-9a-f]{8}\.tmp", re.DOTALL)


def temporary_name(target: str) -> str:
    """A hidden name beside the target, never longer than a file system takes."""
    folder, name = os.path.split(os.fsencode(target))
    suffix = f".dropcli-{os.getpid()}-{secrets.token_hex(4)}.tmp".encode()
    return os.fsdecode(os.path.join(folder, b"." + name[: _NAME_MAX - 1 - len(suffix)] + suffix))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is an unfinished output."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale(folder: str, target: str = "") -> None:
    """Remove unfinished outputs of this name, or of any, of processes that are no more."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            ours = found and entry.name.startswith(f".{target}")
            if found and ours and not _is_alive(int(found[1])):
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
