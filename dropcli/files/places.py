"""Questions about paths and URLs: what exists, which are the same, which can be written."""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

from dropcli.errors import FileError, located
from dropcli.files import paths
from dropcli.files.log import FileLog, Log
from dropcli.files.log import check_idle as check_file
from dropcli.files.paths import Identity, file_exists_error
from dropcli.files.reader import Reader
from dropcli.files.urls import Object, check_urls, is_below, is_prefix_by_name, is_url, split_url


def open_reader(place: str) -> Reader:
    """Open a file, pipe or object. Raises OSError or DropcliError if that fails."""
    if not is_url(place):
        return Reader(place)
    from dropcli.files.stores import ObjectReader

    return ObjectReader(place)


def fetched_ahead(items: Iterable[tuple[str, int]]) -> AbstractContextManager[None]:
    """Fetch the small objects among these (place, bytes) together, for use inside the block."""
    objects = [item for item in items if is_url(item[0])]
    if not objects:
        return nullcontext()
    from dropcli.files.stores import fetched_ahead

    return fetched_ahead(objects)


def is_folder(place: str) -> bool:
    """Whether this is a folder, a link to one, or a prefix with objects."""
    if not is_url(place):
        return paths.is_folder(place)
    from dropcli.files.stores import is_prefix

    return not _has_suffix(place) and is_prefix(place)


def is_file(place: str) -> bool:
    """Whether this is a regular file, a link to one, or an object."""
    return exists(place) if is_url(place) else paths.is_file(place)


def exists(place: str) -> bool:
    """Whether anything exists there, including broken links."""
    if not is_url(place):
        return os.path.lexists(place)
    from dropcli.files.stores import head

    return head(place) is not None


def is_glob(place: str) -> bool:
    """Whether this is a pattern. An existing file with wildcards in its name is not."""
    return glob.has_magic(place) and not exists(place)


def is_made_folder(place: str) -> bool:
    """Whether the path ends as a folder's, which is created if it does not exist."""
    return is_prefix_by_name(place) if is_url(place) else place.endswith(os.sep)


def identity(place: str) -> Identity | None:
    """An identity that all names of a file or folder share; None if there is none or no access."""
    return split_url(place) if is_url(place) else paths.identity(place)


def same_file(source: str, output: str) -> bool:
    """Whether an input and an output are the same file or object."""
    if is_url(source) or is_url(output):
        return is_url(source) and is_url(output) and split_url(source) == split_url(output)
    return paths.same_file(source, output)


def goes_to_stdout(output: str) -> bool:
    """Whether an output is standard output, as `-` or under another name."""
    return not is_url(output) and paths.goes_to_stdout(output)


def check_destination(place: str, *, replace: bool) -> None:
    """Raise DropcliError if a file or an object cannot be written there."""
    check_urls([place], written=True)
    if not is_url(place):
        paths.check_destination(place, replace=replace)
        return
    with located(place):
        if is_prefix_by_name(place):
            raise FileError("is-a-directory", "cannot write an object here: it is a prefix")
        if not replace and exists(place):
            raise file_exists_error()


def check_planned_destination(place: str, size: int, *, replace: bool) -> None:
    """Raise DropcliError if `size` bytes cannot be written there. Nothing is created."""
    if not is_url(place):
        paths.check_planned_destination(place, size, replace=replace)
        return
    from dropcli.files.stores import head

    with located(place):
        there = None if replace else head(place)
        if there and there.nbytes != size:
            raise file_exists_error()


def find_object(url: str) -> Object | None:
    """The object of a URL, None if there is none."""
    from dropcli.files.stores import head

    return head(url)


def list_objects(prefix: str) -> Iterator[Object]:
    """The objects below a prefix."""
    from dropcli.files.stores import list_objects

    return list_objects(prefix)


def match_objects(pattern: str) -> tuple[str, list[Object]]:
    """The prefix before the first part of a glob with a wildcard, and the objects that match."""
    from dropcli.files.stores import match_objects

    return match_objects(pattern)


def open_log(place: str, *, fresh: bool, replace: bool, read_only: bool, waits: bool = True) -> Log:
    """Open a log and hold it, so that no other run can; see `FileLog`."""
    if not is_url(place):
        return FileLog(place, fresh=fresh, replace=replace, read_only=read_only, waits=waits)
    from dropcli.files.stores import ObjectLog

    return ObjectLog(place, fresh=fresh, replace=replace, read_only=read_only)


def first_line(place: str) -> bytes | None:
    """The first line of a log; None if there is no log, or it is empty."""
    if is_url(place):
        from dropcli.files.stores import first_line

        return first_line(place)
    if not paths.is_file(place):
        return None
    with open(place, "rb") as file:
        return file.readline() or None


def names_beside(place: str) -> list[str]:
    """The names in the folder of a log, in order; in a store, the names of the prefixes."""
    folder = os.path.dirname(place)
    if is_url(place):
        from dropcli.files.stores import prefixes_in

        return prefixes_in(folder)
    return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []


def check_idle(place: str) -> None:
    """Raise FileError if another run holds this log, if locks can show it."""
    if is_url(place):
        from dropcli.files.stores import left_behind

        left_behind(f"{place}/claim.json")
    else:
        check_file(place)


def remove_log(place: str) -> None:
    """Remove a log with all its lines."""
    if is_url(place):
        from dropcli.files.stores import remove_parts

        remove_parts(place)
    else:
        os.unlink(place)


def is_inside(place: str, folder: str) -> bool:
    """Whether an object is below a prefix; False for paths."""
    return is_url(place) and is_url(folder) and is_below(place, folder)


def _has_suffix(url: str) -> bool:
    """Whether a URL has the suffix of a tensor file. Then no request is needed to know its kind."""
    return url.lower().endswith((".safetensors", ".pt", ".pth"))
