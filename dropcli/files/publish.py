"""Publish files: the destination is the old file or the complete new one, never a part of it.

A temporary file in the destination's folder is written, its bytes are counted, and it is synced and
renamed; then the folder is synced. Any exception before that, such as Ctrl-C, removes it.
"""

import errno
import filecmp
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dropcli.errors import NOT_SUPPORTED, DropcliError, FileError, located
from dropcli.files.paths import check_destination, file_exists_error, is_special_mode
from dropcli.files.sync import sync_files
from dropcli.files.temporary import create_temporary, new_run, remove_stale
from dropcli.files.urls import is_url
from dropcli.files.writer import Output, check_size

if TYPE_CHECKING:
    from dropcli.files.stores import Uploads


@dataclass
class Finished:
    """A complete temporary file that will become `path`, whose real path is `target`.

    `replace` overwrites an existing file; `adopt` accepts one that holds the same bytes; `sync`
    waits for the disk first.
    """

    path: str
    fd: int
    temporary: str
    target: str
    replace: bool
    adopt: bool
    sync: bool
    renamed: bool = False

    def rename(self) -> None:
        """Move it to its path. Raises FileError if another file is there."""
        if self.replace:
            os.replace(self.temporary, self.target)
        else:
            try:
                _link(self.temporary, self.target)
            except FileError:
                if not (self.adopt and filecmp.cmp(self.temporary, self.target, shallow=False)):
                    raise
                os.unlink(self.temporary)
        self.renamed = True

    def close(self) -> None:
        """Close the file, and remove it unless it was renamed."""
        with located(self.path):
            try:
                if not self.renamed:
                    with suppress(FileNotFoundError):
                        os.unlink(self.temporary)
            finally:
                os.close(self.fd)


class Transaction:
    """Finished files that are published together, so that their syncs overlap.

    `run` is a part of the names of unfinished files.
    """

    def __init__(self, run: str = "") -> None:
        self.run = run or new_run()
        self._finished: list[Finished] = []
        self._folders: dict[str, str] = {}  # real paths by folder
        self._made: set[str] = set()
        self._uploads: Uploads | None = None

    def make_folders(self, path: str) -> None:
        """Create a folder and its parents; they are not checked again."""
        if path not in self._made:
            make_folders(path)
            self._made.add(path)

    def target_of(self, path: str) -> str:
        """The real path of a new file, as of the first file in its folder."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)

    @property
    def uploads(self) -> "Uploads":
        """The outputs that are objects in a store."""
        if self._uploads is None:
            from dropcli.files.stores import Uploads

            self._uploads = Uploads()
        return self._uploads

    def etag_of(self, path: str) -> str | None:
        """The ETag of a published object; None for a file."""
        return self._uploads.etags.get(path) if self._uploads else None

    def add(self, finished: Finished) -> None:
        """Add a file; only `commit` publishes it."""
        finished.fd = os.dup(finished.fd)
        self._finished.append(finished)

    def commit(self) -> dict[str, DropcliError]:
        """Publish all files; return the errors by path."""
        failed = self._uploads.commit() if self._uploads else {}
        synced: set[str] = set()

        def sync_folder(finished: Finished) -> None:
            folder = os.path.dirname(finished.target)
            if finished.sync and folder not in synced:
                _sync_folder(folder)
                synced.add(folder)

        try:
            self._sync(failed)
            self._each(failed, Finished.rename)
            self._each(failed, sync_folder)
        finally:
            self._close()
        return failed

    def _close(self) -> None:
        """Close all files, even if one fails."""
        while self._finished:
            try:
                self._finished.pop().close()
            except BaseException:
                self._close()
                raise

    def _sync(self, failed: dict[str, DropcliError]) -> None:
        fds = [finished.fd for finished in self._finished if finished.sync]
        errors = dict(zip(fds, sync_files(fds), strict=True))

        def check(finished: Finished) -> None:
            if error := errors.get(finished.fd):
                raise error

        self._each(failed, check)

    def _each(self, failed: dict[str, DropcliError], step: Callable[[Finished], None]) -> None:
        for finished in self._finished:
            if finished.path in failed:
                continue
            try:
                with located(finished.path):
                    step(finished)
            except DropcliError as error:
                failed[finished.path] = error


@contextmanager
def publish(
    path: str,
    *,
    size: int,
    replace: bool,
    adopt: bool = False,
    sync: bool = True,
    transaction: Transaction | None = None,
) -> Iterator[Output]:
    """Write `size` bytes, then publish them as `path`, or leave that to the transaction.

    `replace` overwrites an existing file; `adopt` accepts one that holds the same bytes, perhaps
    from an earlier run; `sync` publishes only what is on the disk. FileError if fewer or more
    bytes are written.

    Symbolic links are followed. Character devices and named pipes, such as `/dev/null`, are
    written directly: they hold no data to lose. A URL is an object of a store.
    """
    if is_url(path):
        from dropcli.files.stores import publish_object

        uploads = transaction.uploads if transaction else None
        with (
            located(path),
            publish_object(
                path, size=size, replace=replace, adopt=adopt, uploads=uploads
            ) as output,
        ):
            yield output
        return
    # Most outputs of a dataset are new, in a folder that is known.
    is_new = transaction is not None and not os.path.lexists(path)
    mode = None if is_new else check_destination(path, replace=replace or adopt)
    if is_special_mode(mode):
        with _open_device(path) as output:
            yield output
        return

    target = transaction.target_of(path) if transaction and is_new else os.path.realpath(path)
    if transaction is None:  # a dataset run cleans each folder once
        remove_stale(os.path.dirname(target), os.path.basename(target))
    together = transaction or Transaction()
    with (
        located(path),
        create_temporary(target, size, together.run, replaces=mode is not None) as (temporary, fd),
    ):
        output = Output(fd, path, writeback=sync)
        yield output
        check_size(output, size)
        together.add(Finished(path, fd, temporary, target, replace, adopt, sync))
        if transaction is None:
            for error in together.commit().values():
                raise error


@contextmanager
def _open_device(path: str) -> Iterator[Output]:
    with located(path):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            output = Output(fd, path)
            yield output
            output.flush()
        finally:
            os.close(fd)


def make_folders(path: str) -> None:
    """Create a folder and its parents, at any depth: os.makedirs would recurse."""
    if is_url(path):
        return
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process has made it, or it is a file
            os.mkdir(folder)


def _link(temporary: str, target: str) -> None:
    """Rename, but never over a file that appeared meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        # On network disks a successful link may be requested again, because its answer was lost.
        if not os.path.samestat(os.stat(temporary), os.lstat(target)):
            raise file_exists_error() from None
        os.unlink(temporary)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED | {errno.EPERM, errno.EMLINK}:
            raise
        if os.path.lexists(target):  # the file system has no links
            raise file_exists_error() from None
        os.replace(temporary, target)
    else:
        os.unlink(temporary)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(fd)
