"""Publish objects whole: by one conditional put, or by an upload in parts.

An object is visible only when it is complete, so no temporary name is needed. An exception or a
signal aborts an upload. Only `kill -9` leaves parts behind, until a lifecycle rule removes them.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from typing import Literal

from dropcli.errors import DropcliError, FileError
from dropcli.files.paths import file_exists_error
from dropcli.files.stores.ahead import BLOCK
from dropcli.files.stores.claim import claimed
from dropcli.files.stores.client import asking, client_of, open_writer
from dropcli.files.stores.errors import AGAIN
from dropcli.files.stores.objects import head
from dropcli.files.stores.reader import ObjectReader
from dropcli.files.urls import Object
from dropcli.files.writer import Output, check_size
from dropcli.parallel import Threads, signals

_ONE_PUT = 64 << 20  # bytes; larger objects are uploaded in parts
_MAX_PARTS = 9_000  # stores allow 10,000
_PARTS_BYTES = 32 << 20  # in flight
_PUTS = 32  # at once
_WAITING_BYTES = 64 << 20  # of objects whose put has not finished
_PAUSES = (0.5, 2.0, 5.0)  # seconds before a put is repeated
_LATE = 15.0  # seconds after which it is not repeated


class _Sink(Output):
    """An output that passes its bytes to a function."""

    def __init__(self, url: str, sink: Callable[[memoryview], object]) -> None:
        super().__init__(-1, url)
        self._sink = sink

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._sink(memoryview(data))


class Uploads:
    """Puts small objects at once, while others are still computed; `etags` has ETags by URL."""

    def __init__(self) -> None:
        self.etags: dict[str, str] = {}
        self._pool: Threads | None = None
        self._running: list[tuple[str, int, Future[str]]] = []
        self._failed: dict[str, DropcliError] = {}

    def add(self, url: str, data: bytearray, *, replace: bool) -> None:
        self._pool = self._pool or Threads(_PUTS)
        future = self._pool.submit(put_object, url, data, replace=replace)
        self._running.append((url, len(data), future))
        while sum(nbytes for _, nbytes, _ in self._running) > _WAITING_BYTES:
            self._take()

    def commit(self) -> dict[str, DropcliError]:
        """Wait for all puts; return the errors by URL."""
        try:
            while self._running:
                self._take()
        finally:
            if self._pool:
                self._pool.shutdown()
        failed, self._failed = self._failed, {}
        return failed

    def _take(self) -> None:
        url, _, future = self._running.pop(0)
        try:
            self.etags[url] = future.result()
        except DropcliError as error:
            self._failed[url] = error


@contextmanager
def publish_object(
    url: str, *, size: int, replace: bool, adopt: bool, uploads: Uploads | None
) -> Iterator[Output]:
    """Write `size` bytes, and publish them as the object of this URL. See `publish` for files."""
    if size <= _ONE_PUT:
        yield from _in_one(url, size, replace or adopt, replace, uploads)
        return
    there = head(url)
    if there and not replace:
        if not adopt or there.nbytes != size:
            raise file_exists_error()
        yield from _adopted(url, size)
        etag = there.etag
    else:
        yield from _in_parts(url, size, there, replace=replace)
        etag = getattr(head(url), "etag", "")
    if uploads:
        uploads.etags[url] = etag


def _in_one(
    url: str, size: int, known: bool, replace: bool, uploads: Uploads | None
) -> Iterator[Output]:
    if not known and head(url):
        raise file_exists_error()
    data, end = bytearray(size), 0

    def take(more: memoryview) -> None:
        nonlocal end
        if end + len(more) <= size:
            data[end : end + len(more)] = more
        end += len(more)

    output = _Sink(url, take)
    yield output
    check_size(output, size)
    if uploads:
        uploads.add(url, data, replace=replace)
    else:
        with signals.deferred():
            put_object(url, data, replace=replace)


def put_object(url: str, data: bytearray, *, replace: bool) -> str:
    """Put an object and return its ETag.

    Raises:
        FileError: an object with other bytes exists.
    """
    store, key = client_of(url, writing=True)
    mode: Literal["overwrite", "create"] = "overwrite" if replace else "create"
    started = time.monotonic()
    for pause in (*_PAUSES, None):
        try:
            with asking(url):
                found = store.put(key, memoryview(data), mode=mode, use_multipart=False)
            return found["e_tag"] or ""
        except DropcliError as error:
            # The response to an earlier put may be lost, so the object may be this one.
            if error.code == "exists" and (there := _same(url, data)):
                return there.etag
            late = pause is None or time.monotonic() - started > _LATE
            if error.code not in AGAIN or late:
                raise
            time.sleep(pause or 0)
    raise AssertionError


def _same(url: str, data: bytearray) -> Object | None:
    """The existing object, if it holds these bytes."""
    there = head(url)
    if there is None or there.nbytes != len(data):
        return None
    same = True
    for start, part in _parts_of(url, len(data)):
        same = same and part == memoryview(data)[start : start + len(part)]
    return there if same else None


def _parts_of(url: str, size: int) -> Iterator[tuple[int, memoryview]]:
    reader = ObjectReader(url)
    try:
        for start in range(0, size, BLOCK):
            part = memoryview(bytearray(min(BLOCK, size - start)))
            reader.read_into(start, part)
            yield start, part
    finally:
        reader.close()


def _adopted(url: str, size: int) -> Iterator[Output]:
    """Compare with the existing object, which may be from an earlier run."""
    reader = ObjectReader(url)
    at = 0

    def compare(more: memoryview) -> None:
        nonlocal at
        there = memoryview(bytearray(min(len(more), size - at)))
        reader.read_into(at, there)
        if there != more:
            raise file_exists_error()
        at += len(more)

    try:
        output = _Sink(url, compare)
        yield output
        check_size(output, size)
    finally:
        reader.close()


def _in_parts(url: str, size: int, before: Object | None, *, replace: bool) -> Iterator[Output]:
    part = max(BLOCK, -(-size // _MAX_PARTS))
    with asking(url):
        writer = open_writer(url, part, max(1, _PARTS_BYTES // part))

    def send(more: memoryview) -> None:
        with asking(url):
            writer.write(bytes(more))  # a copy, because the library keeps it

    try:
        output = _Sink(url, send)
        yield output
        check_size(output, size)
        # Completing an upload has no condition, so one run at a time checks and completes.
        with nullcontext() if replace else claimed(f"{url}.claim.json"), signals.deferred():
            if not replace and head(url):
                raise file_exists_error()
            _complete(url, size, before, writer.close)
    except BaseException as error:
        with signals.deferred(), suppress(OSError, DropcliError), asking(url):
            writer.__exit__(type(error), error, None)  # aborts the upload
        raise


def _complete(url: str, size: int, before: Object | None, close: Callable[[], None]) -> None:
    """Complete an upload. A lost response is no failure if the object is there."""
    try:
        with asking(url):
            close()
    except FileError:
        there = head(url)
        if there is None or there.nbytes != size or (before and there.etag == before.etag):
            raise
