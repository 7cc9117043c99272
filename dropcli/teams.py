"""Who does the pieces: threads, or processes, which put most of the output in place themselves.

Either way what comes of them comes in order. Threads do for any input and output. Processes are
faster, but take a while to start, and need an output that takes bytes in any order.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from typing import Protocol, TypeAlias

from dropcli.cores import Inline, Threads, usable_cores
from dropcli.dropping import InPlace, PieceDone, do_piece
from dropcli.forks import Forks, is_alone
from dropcli.pieces import PIECE_BYTES, Piece
from dropcli.tensors import Late, Source

_MOST_WORKERS = 4  # reading and writing bound the work; more workers only take memory
_LARGE_BYTES = 32 << 20  # processes take as long to start as some pieces to drop

Done: TypeAlias = Generator[tuple[Piece, PieceDone], None, None]


class Placed(Protocol):
    """An output that takes bytes in any order, and from any process."""

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of it there; what is written in order goes on where it was."""

    def advance(self, nbytes: int) -> None:
        """Go on behind bytes that `write_at` has written, here or in another process."""


@contextmanager
def doing(
    source: Source, cut: Callable[[], Iterable[Piece]], placed: Placed | None
) -> Iterator[Done]:
    """Each of the pieces that `cut` gives, and what came of it, in order.

    Its buffer is used again when the next is asked.
    """
    # A thread takes as long to start as a small file to drop.
    workers = 0 if source.size <= PIECE_BYTES else min(usable_cores(), _MOST_WORKERS)
    forks = None
    if placed and source.seekable and source.size >= _LARGE_BYTES and workers > 1 and is_alone():
        with suppress(OSError):  # no more processes can be started
            forks = Forks(_Share(source, cut(), placed).do, workers)
    if forks is None:
        with closing(_by_threads(source, cut(), workers)) as done:
            yield done
    else:
        try:
            yield _by_processes(forks, cut())
        finally:
            forks.end()


def _by_threads(source: Source, pieces: Iterable[Piece], workers: int) -> Done:
    """A few pieces at once, one after the other without workers."""
    free: list[bytearray] = []
    running: deque[tuple[Piece, Future[PieceDone]]] = deque()
    with Threads(workers) if workers else Inline() as pool:
        for piece in pieces:
            if len(running) > workers:
                first, future = running.popleft()
                yield first, future.result()
                free.append(future.result().buffer)
            buffer = free.pop() if free else bytearray()
            if len(buffer) < piece.nbytes:
                buffer = bytearray(piece.nbytes)
            if not source.seekable:  # a pipe is read in order, so here
                source.read_into(piece.offset, memoryview(buffer)[: piece.nbytes])
            running.append((piece, pool.submit(do_piece, source, piece, buffer)))
        while running:
            first, future = running.popleft()
            yield first, future.result()


def _by_processes(forks: Forks[PieceDone], pieces: Iterable[Piece]) -> Done:
    """What is made late, or is known without the source, is left to this process."""
    for piece, done in forks.in_order(pieces):
        done.output = [
            item if isinstance(item, bytes | Late) else InPlace(item.nbytes) for item in piece.items
        ]
        yield piece, done


class _Share:
    """The pieces as one of several processes goes through them, which does some."""

    def __init__(self, source: Source, pieces: Iterable[Piece], placed: Placed) -> None:
        self._source = source
        self._pieces = enumerate(pieces)
        self._placed = placed
        self._offset = 0  # in the output
        self._buffer = bytearray()

    def do(self, number: int) -> PieceDone:
        """Do the piece of this number, larger each time, and put its elements in their place."""
        for index, piece in self._pieces:
            offset = self._offset
            self._offset += piece.output_bytes
            if index == number:
                break
        if len(self._buffer) < piece.nbytes:
            self._buffer = bytearray(piece.nbytes)
        done = do_piece(self._source, piece, self._buffer)
        for item in done.output:
            if isinstance(item, memoryview):
                self._placed.write_at(offset, item)
            offset += len(item) if isinstance(item, bytes) else item.nbytes
        return PieceDone(bytearray(), [], done.parts, done.checksums)
