"""The files of a dataset in a store: the objects below a prefix, or those that match a glob."""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dropcli.dataset.journal import Stamp, is_journal
from dropcli.errors import FileError, UsageError
from dropcli.files import Object, is_inside, list_objects, match_objects


class Listed(NamedTuple):
    """An object: its URL, its name below the prefix, and the stamp of its version."""

    url: str
    name: str
    stamp: Stamp


def objects_below(prefix: str, output: str | None) -> Iterator[Listed]:
    """The objects below a prefix in the order of a walk, without those in the folder `output`."""
    base = prefix.rstrip("/") + "/"
    if output and output.rstrip("/") + "/" == base:
        message = "is both the input and the output"
        raise UsageError("same-folder", message, "write to another prefix", prefix)
    yield from _listed(list_objects(prefix), base, output)


def objects_matching(pattern: str, output: str | None) -> list[Listed]:
    """The objects that match a glob, with names relative to its part before the first wildcard."""
    base, found = match_objects(pattern)
    matches = list(_listed(found, f"{base}/", output))
    if not matches:
        raise FileError("no-match", "no object matches", None, pattern)
    return matches


def _listed(objects: Iterable[Object], base: str, output: str | None) -> Iterator[Listed]:
    found = [
        Listed(item.url, item.url[len(base) :], Stamp.of_object(item))
        for item in objects
        if not (output and is_inside(item.url, output))
    ]
    folders = {os.path.dirname(item.name) for item in found}
    for item in sorted(found, key=lambda item: _in_walk(item.name)):
        stands_for_folder = not item.stamp.nbytes and item.name in folders
        if not (stands_for_folder or any(map(is_journal, item.name.split("/")))):
            yield item


def _in_walk(name: str) -> tuple[tuple[bool, str], ...]:
    """The sort key for the order of a walk: in each folder, files come first."""
    *folders, file = name.split("/")
    return (*((True, folder) for folder in folders), (False, file))
