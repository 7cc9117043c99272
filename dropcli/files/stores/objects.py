"""Metadata of objects: single ones, and listings of prefixes."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from dropcli.errors import FileError
from dropcli.files.stores.client import asking, client_of
from dropcli.files.urls import Object, is_prefix_by_name, split_url

if TYPE_CHECKING:
    from obstore import ObjectMeta


def object_of(url: str, meta: "ObjectMeta") -> Object:
    """The metadata of an object."""
    return Object(url, meta["size"], meta["e_tag"] or str(meta["last_modified"]))


def head(url: str) -> Object | None:
    """The metadata of the object of this URL; None if there is none."""
    store, key = client_of(url)
    if not key:
        return None
    try:
        with asking(url):
            return object_of(url, store.head(key))
    except FileError as error:
        if error.code == "not-found":
            return None
        raise


def list_objects(prefix: str) -> Iterator[Object]:
    """The objects below a prefix, without the empty objects that represent folders."""
    store, key = client_of(prefix)
    bucket, _ = split_url(prefix)
    with asking(prefix):
        for several in store.list(key or None):
            for meta in several:
                if meta["path"] != key:
                    yield object_of(f"{bucket}/{meta['path']}", meta)


def prefixes_in(prefix: str) -> list[str]:
    """The names of the prefixes directly below a prefix, in order."""
    store, key = client_of(prefix)
    with asking(prefix):
        found = store.list_with_delimiter(key or None)["common_prefixes"]
    return sorted(path.rstrip("/").rpartition("/")[2] for path in found)


def is_prefix(url: str) -> bool:
    """Whether there are objects below this URL, or it ends in `/`."""
    if is_prefix_by_name(url):
        return True
    store, key = client_of(url)
    with asking(url):
        return any(
            meta["path"] != key for several in store.list(key, chunk_size=2) for meta in several
        )


def match_objects(pattern: str) -> tuple[str, list[Object]]:
    """The prefix before the first part of a glob with a wildcard, and the objects that match."""
    bucket, glob = split_url(pattern)
    parts = glob.split("/")
    fixed = next(number for number, part in enumerate(parts) if re.search(r"[*?[]", part))
    base = "/".join([bucket, *parts[:fixed]])
    found = []
    for item in list_objects(base):
        if _matches(item.url[len(base) + 1 :].split("/"), parts[fixed:]):
            found.append(item)
    return base, sorted(found)


def _matches(parts: list[str], globs: list[str]) -> bool:
    """Whether the parts of a key match those of a glob; `**` matches any number of folders."""
    if not globs:
        return not parts
    if globs[0] == "**" and _matches(parts, globs[1:]):
        return True
    if not parts or not (globs[0] == "**" or fnmatchcase(parts[0], globs[0])):
        return False
    return _matches(parts[1:], globs if globs[0] == "**" else globs[1:])
