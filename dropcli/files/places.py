"""Paths and URLs alike: what is there, whether two are one, whether one can be written."""

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
from dropcli.files.urls import Object, is_below, is_prefix_by_name, is_url, split_url


def open_reader(place: str) -> Reader:
    """An open file, pipe or object; OSError or DropcliError if it cannot be opened."""
    if not is_url(place):
        return Reader(place)
    from dropcli.files.stores import ObjectReader

    return ObjectReader(place)


def fetched_ahead(items: Iterable[tuple[str, int]]) -> AbstractContextManager[None]:
    """Fetch the small objects among these (place, bytes) together; they are opened inside."""
    objects = [item for item in items if is_url(item[0])]
    if not objects:
        return nullcontext()
    from dropcli.files.stores import fetched_ahead

    return fetched_ahead(objects)


def is_folder(place: str) -> bool:
    """Whether there is a folder, or a link to one, or objects below a prefix."""
    if not is_url(place):
        return paths.is_folder(place)
    from dropcli.files.stores import is_prefix

    return not _has_suffix(place) and is_prefix(place)


def is_file(place: str) -> bool:
    """Whether there is a regular file, or a link to one, or an object."""
    return exists(place) if is_url(place) else paths.is_file(place)


def exists(place: str) -> bool:
    """Whether anything is there, links that lead nowhere included."""
    if not is_url(place):
        return os.path.lexists(place)
    from dropcli.files.stores import head

    return head(place) is not None


def is_glob(place: str) -> bool:
    """Whether this is a pattern; a file that exists is meant itself, brackets and all."""
    return glob.has_magic(place) and not exists(place)


def is_made_folder(place: str) -> bool:
    """Whether the path says that it is a folder, which is made if it is not there."""
    return is_prefix_by_name(place) if is_url(place) else place.endswith(os.sep)


def identity(place: str) -> Identity | None:
    """Equal for all names of one file or folder; None for nothing, or if the system refuses."""
    return split_url(place) if is_url(place) else paths.identity(place)


def same_file(source: str, output: str) -> bool:
    """Whether an input and an output are one file, or one object."""
    if is_url(source) or is_url(output):
        return is_url(source) and is_url(output) and split_url(source) == split_url(output)
    return paths.same_file(source, output)


def goes_to_stdout(output: str) -> bool:
    """Whether an output is standard output, as `-` or under another name."""
    return not is_url(output) and paths.goes_to_stdout(output)


def check_destination(place: str, *, replace: bool) -> None:
    """DropcliError if a file or an object cannot be written there."""
    if not is_url(place):
        paths.check_destination(place, replace=replace)
        return
    with located(place):
        if is_prefix_by_name(place):
            raise FileError("is-a-directory", "cannot write an object here: it is a prefix")
        if not replace and exists(place):
            raise file_exists_error()


def foresee_destination(place: str, size: int, *, replace: bool) -> None:
    """DropcliError if `size` bytes cannot be written there; nothing is created."""
    if not is_url(place):
        paths.foresee_destination(place, size, replace=replace)
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
    """The prefix above the part of a glob that is a pattern, and the objects that match."""
    from dropcli.files.stores import match_objects

    return match_objects(pattern)


def open_log(place: str, *, fresh: bool, replace: bool, read_only: bool, waits: bool = True) -> Log:
    """A log, which no other run then holds: see `FileLog`."""
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
    """The names in the folder of a log, in order; in a store, of the prefixes in it."""
    folder = os.path.dirname(place)
    if is_url(place):
        from dropcli.files.stores import prefixes_in

        return prefixes_in(folder)
    return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []


def check_idle(place: str) -> None:
    """FileError if another run holds this log, as far as locks reach."""
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
    """Whether an object lies below a prefix; False for paths."""
    return is_url(place) and is_url(folder) and is_below(place, folder)


def _has_suffix(url: str) -> bool:
    """Whether a URL names an object that holds tensors, which is then not asked for."""
    return url.lower().endswith((".safetensors", ".pt", ".pth"))
