"""What a copy's output is called, and back again: which file and copy a name means."""

import os
import re
from collections.abc import Iterable, Iterator

_ORIGINAL = re.compile(r"(?P<root>.+)\.0+(?P<suffix>\.[^./]+)", re.DOTALL)


def copy_names(name: str, copies: Iterable[int], last: int) -> Iterator[tuple[int, str]]:
    """Each copy and its name, all as wide as that of the last: `x.01.pt` to `x.12.pt`."""
    root, suffix = os.path.splitext(name)
    width = len(str(last))
    for copy in copies:
        yield copy, f"{root}.{copy:0{width}}{suffix}"


def name_of_original(name: str) -> str | None:
    """The name of the file of which this is copy 0, None if it is called like no copy 0."""
    found = _ORIGINAL.fullmatch(name)
    return found["root"] + found["suffix"] if found else None


def is_name_of(stem: str, stream: str, copy: int) -> bool:
    """Whether an output of this name, without its suffix, is that copy of that stream.

    It may be the end of the stream: below the folder that was written.
    """
    if copy:
        stem, _, number = stem.rpartition(".")
        if not (number.isdecimal() and int(number) == copy):
            return False
    return stem == stream or stream.endswith(f"/{stem}")
