"""Engines run tasks: one after the other in this process, or in worker processes.

Tasks are grouped in chunks, because sending one to a worker costs as much as a small file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from dropcli.errors import Interrupted

T = TypeVar("T")
R = TypeVar("R")

# A picklable function of a chunk of tasks and a callback for processed bytes. It returns the
# results, and the signal that ended the work, if any; then there are fewer results than tasks.
Work: TypeAlias = Callable[
    [Sequence[T], Callable[[int], None]], tuple[Sequence[R], Interrupted | None]
]


class Engine(ABC, Generic[T, R]):
    """Runs chunks of tasks, in any order.

    `deaths` counts the workers that were killed. If `remote`, workers may be on other machines: the
    executor replaces lost ones, and they finish chunks that they began after the run has ended.
    """

    deaths = 0
    remote = False

    @property
    def slots(self) -> int:
        """The number of chunks that run at once."""
        return 1

    @property
    def unfinished(self) -> int:
        """The number of tasks that remote workers may have begun when `run` was ended early."""
        return 0

    @abstractmethod
    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """Yield each task with its result, or with None if it killed its worker.

        `on_bytes` is called regularly with the number of new bytes, which may be 0.
        """

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """Yield the tasks that were finished when `run` was ended early."""
        yield from ()


class Serial(Engine[T, R]):
    """Runs all chunks in this process, one after the other."""

    def __init__(self, work: Work[T, R]) -> None:
        self._work = work

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        for chunk in chunks:
            results, stop = self._work(chunk, on_bytes)
            yield from zip(chunk, results, strict=False)
            if stop:
                raise stop
