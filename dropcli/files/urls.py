"""URLs among paths: objects in stores, such as `s3://bucket/key`, and URLs that are not supported.

A URL that ends in `/`, or that is only a bucket, is a prefix. It is used like a folder.
"""

import os
import re
import shlex
from collections.abc import Iterable
from typing import NamedTuple

from dropcli.errors import UsageError

_STORES = ("s3", "gs", "az")
_ONE_SLASH = re.compile(f"({'|'.join(_STORES)}):/([^/].*)", re.DOTALL)  # as `Path` writes URLs


class Object(NamedTuple):
    """An object: its URL, its size in bytes, and its ETag."""

    url: str
    nbytes: int
    etag: str


def scheme_of(path: str) -> str:
    """The scheme of a URL, "" for a path."""
    if "://" not in path:
        return ""
    scheme, _, rest = path.partition("://")
    is_scheme = scheme in _STORES or (rest and scheme.isalnum())
    return scheme if is_scheme and not os.path.lexists(path) else ""


def is_url(path: str) -> bool:
    """Whether this is the URL of an object or of a prefix in a store."""
    return "://" in path and scheme_of(path) in _STORES


def split_url(url: str) -> tuple[str, str]:
    """The URL of the bucket, and the key without the slashes around it."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise UsageError("no-bucket-name", "the URL has no bucket", "s3://BUCKET/KEY", url)
    return f"{scheme}://{bucket}", key.strip("/")


def is_prefix_by_name(url: str) -> bool:
    """Whether the URL is a prefix by its form: it ends in `/`, or is only a bucket."""
    return url.endswith("/") or not split_url(url)[1]


def is_below(url: str, prefix: str) -> bool:
    """Whether an object is below a prefix of the same bucket."""
    bucket, key = split_url(url)
    other, above = split_url(prefix)
    return bucket == other and (not above or key.startswith(f"{above}/"))


def check_urls(paths: Iterable[str | None], *, written: bool = False) -> None:
    """Raise UsageError for a URL that can be neither read nor written."""
    for path in filter(None, paths):
        if scheme := scheme_of(path):
            if scheme not in _STORES:
                message = f"{scheme}:// is not supported"
                raise UsageError("url", message, _hint(path, written=written), path)
            split_url(path)
        elif written and (found := _ONE_SLASH.fullmatch(path)) and not os.path.lexists(path):
            hint = f"did you mean {shlex.quote('://'.join(found.groups()))}?"
            raise UsageError("url", "a URL begins with two slashes", hint, path)


def _hint(url: str, *, written: bool) -> str:
    """How to write the URL, or get the file of a URL that is not supported."""
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return f"did you mean {shlex.quote(rest)}?"
    if scheme.lower() in _STORES:
        return f"did you mean {shlex.quote(f'{scheme.lower()}://{rest}')}?"
    if written:
        return "write a file, and copy it there with another program"
    if scheme in ("http", "https"):
        return f"download it first: curl -LO {shlex.quote(url)}"
    if scheme == "hf":
        kinds = {"datasets": "--repo-type dataset ", "spaces": "--repo-type space "}
        kind, _, below = rest.partition("/")
        repository = below if kind in kinds else rest
        owner, _, rest = repository.partition("/")
        name, _, file = rest.partition("/")
        words = shlex.join([f"{owner}/{name}", *filter(None, [file])])
        return f"download it first: hf download {kinds.get(kind, '')}{words}"
    return "copy the files with another program"
