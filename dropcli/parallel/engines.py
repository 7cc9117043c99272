"""Where tasks run: here one after the other, or in worker processes of which any may die.

Tasks come in chunks, because handing one over costs as much as dropping a small file.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Generic, TypeVar

from dropcli.parallel.threads import usable_cores
from dropcli.parallel.work import Engine, Work

_SHORT_TASKS = 100
_SHORT_BYTES = 64 << 20

T = TypeVar("T")
R = TypeVar("R")


class Serial(Generic[T, R]):
    """In this process, one after the other."""

    deaths = 0

    def __init__(self, work: Work[T, R]) -> None:
        self._work = work

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """One chunk after the other."""
        for chunk in chunks:
            results, stop = self._work(chunk, on_bytes)
            yield from zip(chunk, results, strict=False)
            if stop:
                raise stop

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """Nothing is under way."""
        yield from ()


def choose_engine(
    work: Work[T, R], sizes: Sequence[int], jobs: int | None, preload: str
) -> Engine[T, R]:
    """Workers, unless all is done before they would have started. `sizes` are of tasks, in bytes.

    jobs: the number of workers, None for one per core where there is enough to do.
    """
    if jobs is None:
        short = len(sizes) < _SHORT_TASKS and sum(sizes) < _SHORT_BYTES
        jobs = 1 if short else usable_cores()
    jobs = min(jobs, len(sizes))
    if jobs < 2:
        return Serial(work)
    from dropcli.parallel.processes import Processes  # slow to import, and rarely needed

    return Processes(work, jobs, preload)
