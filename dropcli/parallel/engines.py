"""Where tasks run: one after the other in this process, or in worker processes.

Tasks come in chunks, because handing one over costs as much as dropping a small file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from dropcli.errors import Interrupted

T = TypeVar("T")
R = TypeVar("R")

# A picklable function of a chunk of tasks and of a callback for the bytes done. It returns the
# results, fewer than tasks if a signal ended the work, which it returns too.
Work: TypeAlias = Callable[
    [Sequence[T], Callable[[int], None]], tuple[Sequence[R], Interrupted | None]
]


class Engine(ABC, Generic[T, R]):
    """Runs chunks of tasks, in any order.

    `deaths` counts how often workers were killed. `remote` workers may be on other machines; what
    runs them replaces lost ones, and they finish what they have begun after the run has ended.
    """

    deaths = 0
    remote = False

    @property
    def slots(self) -> int:
        """How many chunks run at once."""
        return 1

    @property
    def unfinished(self) -> int:
        """How many tasks remote workers may have begun when `run` was ended early."""
        return 0

    @abstractmethod
    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """Each task and its result; None for a task that killed its worker.

        `on_bytes` is called regularly with the number of new bytes, possibly 0.
        """

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """After an early end of `run`: the tasks that were finished by then."""
        yield from ()


class Serial(Engine[T, R]):
    """In this process, one chunk after the other."""

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
