"""An open object. Its first bytes are fetched with its size and ETag, the rest when it is read.

All further requests require that ETag, so a change of the object during reading is an error.
"""

import io
import mmap
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, NamedTuple

from dropcli.errors import FileError
from dropcli.files.reader import Reader, too_short
from dropcli.files.stores.ahead import BLOCK, PAGE, Ahead
from dropcli.files.stores.client import asking, client_of
from dropcli.files.stores.errors import EMPTY
from dropcli.files.stores.objects import head, object_of
from dropcli.files.urls import Object
from dropcli.parallel import Threads

if TYPE_CHECKING:
    from obstore import GetOptions
    from typing_extensions import Buffer

_FILES_AT_ONCE = 32
_STREAMED = 1 << 20  # bytes at a time
_FETCHED_BYTES = 32 << 20


class _First(NamedTuple):
    """The result of the first request for an object."""

    item: Object
    data: memoryview


_fetched: ContextVar[dict[str, "Future[_First]"] | None] = ContextVar("_fetched", default=None)


class ObjectReader(Reader):
    """The object of a URL, which can be read at any position."""

    def __init__(self, url: str) -> None:
        self.path, self.fd = url, -1
        self.seekable, self.on_disk = True, False
        waiting = (_fetched.get() or {}).pop(url, None)
        self._item, first = waiting.result() if waiting else _first(url, PAGE)
        self.size = self._item.nbytes
        self._ahead: Ahead | None = Ahead(self._fetch, self._item.nbytes)
        self._ahead.add_page(0, first)

    def replace(self, file: IO[bytes]) -> None:
        self.close()
        self._ahead = None
        self.path, self.fd = "", os.dup(file.fileno())
        self._attach()

    def spool(self) -> None:
        """Download the object into a temporary file."""
        import tempfile  # slow to import, and rarely needed

        with tempfile.TemporaryFile() as file:
            size = self._item.nbytes
            for start in range(0, size, BLOCK):
                buffer = memoryview(bytearray(min(BLOCK, size - start)))
                self.read_into(start, buffer)
                file.write(buffer)
            file.flush()
            self.replace(file)

    def peek(self, count: int) -> bytes:
        return self.read(0, min(count, self.size or 0))

    def read(self, offset: int, count: int) -> bytes:
        if self._ahead is None:
            return super().read(offset, count)
        self._check(offset, count)
        return self._ahead.read(offset, count)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._ahead is None:
            super().read_into(offset, buffer)
        else:
            self._check(offset, len(buffer))
            self._ahead.read_into(offset, buffer)

    def finish(self) -> None:
        """Nothing is left to check: all requests required the same version of the object."""

    def file(self) -> IO[bytes]:
        return super().file() if self._ahead is None else io.BufferedReader(_Raw(self), PAGE)

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        if self._ahead is not None:
            self._ahead.expect(ranges)

    def close(self) -> None:
        if self._ahead is None:
            super().close()
        else:
            self._ahead.close()

    def _check(self, offset: int, count: int) -> None:
        if offset + count > self._item.nbytes:
            raise too_short(self._item.nbytes, offset + count)

    def _fetch(self, start: int, stop: int) -> memoryview:
        """Fetch a range of the version that was opened; called on threads."""
        store, key = client_of(self._item.url)
        data, at = _buffer(stop - start), 0
        with asking(self._item.url):
            wanted: GetOptions = {"range": (start, stop), "if_match": self._item.etag}
            # In parts, because one buffer would make the library hold the range twice.
            for part in store.get(key, options=wanted).stream(_STREAMED):
                data[at : at + len(part)] = part
                at += len(part)
        if at != len(data):
            message = f"the store sent {at:,} of {len(data):,} bytes"
            raise FileError("cut-off", message, "run again")
        return data


def _buffer(nbytes: int) -> memoryview:
    """Memory for a range. A large one is mapped, so that it returns to the system on any thread."""
    return memoryview(mmap.mmap(-1, nbytes) if nbytes >= _STREAMED else bytearray(nbytes))


class _Raw(io.RawIOBase):
    """A reader as a file object with a position."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._at, self._reader.size or 0)[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), (self._reader.size or 0) - self._at))
        view[:count] = self._reader.read(self._at, count)
        self._at += count
        return count


def _first(url: str, nbytes: int) -> _First:
    """Fetch the first bytes and the metadata of an object."""
    store, key = client_of(url)
    try:
        with asking(url):
            if not key:
                raise FileNotFoundError
            found = store.get(key, options={"range": (0, nbytes)})
            return _First(object_of(url, found.meta), memoryview(found.buffer()))
    except FileError as error:  # an empty object has no first byte
        item = head(url) if error.code == EMPTY else None
        if item is None or item.nbytes:
            raise
        return _First(item, memoryview(b""))


@contextmanager
def fetched_ahead(items: Iterable[tuple[str, int]]) -> Iterator[None]:
    """Fetch small objects (URL, bytes) at once, each for the next reader of its URL."""
    small, total = {}, 0
    for url, nbytes in items:
        if nbytes <= BLOCK and url not in small and total + nbytes <= _FETCHED_BYTES:
            small[url] = nbytes
            total += nbytes
    if len(small) < 2:
        yield
        return
    with Threads(min(_FILES_AT_ONCE, len(small))) as pool:
        token = _fetched.set({url: pool.submit(_first, url, BLOCK) for url in small})
        try:
            yield
        finally:
            _fetched.reset(token)
            pool.shutdown(wait=False, cancel_futures=True)
