"""Read ranges of an object: small ones singly, long runs in blocks that are fetched ahead.

With a round trip of 60 ms, one request at a time reads 49 MB/s, and eight blocks of 8 MiB at once
read 340 MB/s.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Lock

from dropcli.parallel import Threads

BLOCK = 8 << 20
AHEAD = 8  # blocks that are fetched at once
_BEHIND = 2  # blocks that threads may still read
PAGE = 1 << 18  # bytes that a small read fetches
_SMALL = 1 << 16  # reads below this are not part of a run
_AT_ONCE = 32  # small ranges that are fetched at once
_PAGES = 16

Fetch = Callable[[int, int], memoryview]


class Ahead:
    """Reads ranges of an object of `size` bytes with `fetch(start, stop)`, from any thread."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._pages: list[memoryview] = []  # the latest ones
        self._places: list[int] = []
        self._kept: list[tuple[int, memoryview]] = []  # the ranges of `expect`, in order
        self._lock = Lock()
        self._pool: Threads | None = None
        self._blocks: dict[int, Future[memoryview]] = {}
        self._newest = -1  # the block that was requested last
        self._window = AHEAD

    def add_page(self, start: int, data: memoryview) -> None:
        """Keep a range that has been read already."""
        with self._lock:
            self._places, self._pages = (
                [*self._places, start][-_PAGES:],
                [*self._pages, data][-_PAGES:],
            )

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch small ranges (start, bytes) at once; ranges that are close together as one."""
        merged: list[tuple[int, int]] = []
        for start, nbytes in sorted(ranges):
            stop = min(start + nbytes, self._size)
            if self._page(start, stop - start):
                continue
            if merged and start - merged[-1][1] <= PAGE:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        if not merged:
            return
        with Threads(min(_AT_ONCE, len(merged))) as pool:
            found = pool.map(lambda wanted: self._fetch(*wanted), merged)
            self._kept = [(start, data) for (start, _), data in zip(merged, found, strict=True)]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset`; the range must be inside the object."""
        count = len(buffer)
        page = self._page(offset, count)
        if page is None and count < _SMALL:
            start = min(offset, max(0, self._size - PAGE))
            data = self._fetch(start, min(start + PAGE, self._size))
            self.add_page(start, data)
            page = (start, data)
        if page is not None:
            at = offset - page[0]
            buffer[:] = page[1][at : at + count]
            return
        done = 0
        while done < count:
            number, at = divmod(offset + done, BLOCK)
            data = self._block(number).result()
            run = min(len(data) - at, count - done)
            buffer[done : done + run] = data[at : at + run]
            done += run

    def read(self, offset: int, count: int) -> bytes:
        """Return a range without reading ahead, for data of known length such as a header."""
        if self._page(offset, count) or count < _SMALL:
            buffer = bytearray(count)
            self.read_into(offset, memoryview(buffer))
            return bytes(buffer)
        starts = range(offset, offset + count, BLOCK)
        with Threads(min(AHEAD, len(starts))) as pool:
            parts = pool.map(lambda at: self._fetch(at, min(at + BLOCK, offset + count)), starts)
            return b"".join(parts)

    def close(self) -> None:
        """Cancel what is not yet fetched."""
        with self._lock:
            self._blocks = {}
            if self._pool:
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _page(self, offset: int, count: int) -> tuple[int, memoryview] | None:
        with self._lock:
            for start, data in zip(self._places, self._pages, strict=True):
                if start <= offset and offset + count <= start + len(data):
                    return start, data
        near = bisect_right(self._kept, offset, key=lambda kept: kept[0]) - 1
        if near >= 0:
            start, data = self._kept[near]
            if offset + count <= start + len(data):
                return start, data
        return None

    def _block(self, number: int) -> "Future[memoryview]":
        """Return a block and start fetching the next ones; after a jump, fewer of them."""
        with self._lock:
            if self._pool is None:
                self._pool = Threads(AHEAD)
            if number > self._newest or number not in self._blocks:
                follows = number == self._newest + 1
                self._window = min(AHEAD, 2 * self._window) if follows else 2
                if self._newest < 0:
                    self._window = AHEAD
                self._newest = number
                last = (self._size - 1) // BLOCK
                wanted = range(number, min(number + self._window - 1, last) + 1)
                for old in [n for n in self._blocks if not number - _BEHIND <= n <= wanted[-1]]:
                    self._blocks.pop(old).cancel()
                for new in wanted:
                    if new not in self._blocks:
                        self._blocks[new] = self._pool.submit(self._whole, new)
            return self._blocks[number]

    def _whole(self, number: int) -> memoryview:
        start = number * BLOCK
        return self._fetch(start, min(start + BLOCK, self._size))
