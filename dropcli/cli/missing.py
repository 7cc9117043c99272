"""Hints for paths of files that do not exist."""

import os
import re
import shlex
from collections.abc import Collection, Iterable

from dropcli.errors import DropcliError

_ALIKE = 0.7
_QUOTES = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}" + (
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}'\"` "
)


def add_hints(errors: Iterable[DropcliError], paths: Collection[str] | None = None) -> None:
    """Add hints to errors about files that do not exist, where it is clear what was meant.

    With several files only to `paths`, which were typed; the others were found in folders.
    """
    for error in errors:
        if paths is None or error.place in paths:
            _add_hint(error)


def _add_hint(error: DropcliError) -> None:
    if error.message == "no such file or directory" and error.place and not error.hint:
        error.hint = hint_of(error.place)
    elif error.code == "no-match" and error.message == "no file matches" and error.place:
        error.hint = _glob_hint(error.place)


def _glob_hint(pattern: str) -> str | None:
    """A pattern that matches something, or the reason why this one does not."""
    import glob  # slow for --help

    base = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    if base and not os.path.isdir(base):
        near = _nearest(base)
        meant = f"; did you mean {shlex.quote(near + pattern[len(base) :])}?" if near else ""
        return f"there is no folder {shlex.quote(base)}{meant}"
    folder, name = os.path.split(pattern)
    stem = os.path.splitext(name)[0]
    others = [f"{stem}{suffix}" for suffix in (".pt", ".pth", ".safetensors")]
    for other in (*others, os.path.join("**", name)):
        meant = os.path.join(folder, other)
        if next(glob.iglob(meant, recursive=True), None):
            return f"did you mean {shlex.quote(meant)}?"
    return f"ls {shlex.quote(base or '.')} shows what is there"


def hint_of(path: str) -> str | None:
    """The hint for the path of a file that does not exist."""
    parts = [part for part in re.split("[,;] ?", path) if part]
    if len(parts) > 1 and all(map(os.path.exists, parts)):
        return f"separate the inputs with spaces: {shlex.join(parts)}"
    if url := re.match("(s3|gs|az|https?):/(?=[^/])", path):
        return f"did you mean {shlex.quote(f'{url[1]}://{path[url.end() :]}')}?"
    if "$" in path:
        return "the shell does not expand variables in single quotes"
    if re.match(r"[A-Za-z]:[\\/]", path):
        folders = path[2:].replace("\\", "/")
        return f"in WSL this is {shlex.quote(f'/mnt/{path[0].lower()}{folders}')}"
    meant = os.path.expanduser(path.strip(_QUOTES))
    if not os.path.exists(meant):
        meant = meant.replace("\\", "/")
    if not os.path.exists(meant):
        meant = _nearest(meant)
    if meant and meant.isprintable():
        return f"did you mean {shlex.quote(meant)}?"
    return "the shell expands ~ only outside quotes" if path.startswith("~") else None


def _nearest(path: str) -> str:
    """The path with its first missing part replaced by a similar name that exists, or ""."""
    import difflib  # slow for --help

    folder, name = os.path.split(path)
    rest = ""
    while folder and not os.path.exists(folder):
        (folder, name), rest = os.path.split(folder), os.path.join(name, rest)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return ""
    stems = {other: os.path.splitext(other)[0].lower() for other in names}
    stem = os.path.splitext(name)[0].lower()
    like = set(difflib.get_close_matches(stem, stems.values(), 3, _ALIKE))
    names = sorted(other for other in names if stems[other] in like)
    found = difflib.get_close_matches(name.lower(), names, 1, 0.0)
    near = os.path.join(folder, found[0], rest).rstrip("/") if found else ""
    return near if os.path.exists(near) else ""
