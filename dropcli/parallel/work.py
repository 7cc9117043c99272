"""What an engine is given to do, and what an engine is."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol, TypeVar

from dropcli.errors import Interrupted

T = TypeVar("T")
T_in = TypeVar("T_in", contravariant=True)
R_out = TypeVar("R_out", covariant=True)


class Work(Protocol[T_in, R_out]):
    """What is done to a chunk of tasks: a picklable function.

    It tells of the bytes it has done. A signal is no error: what was finished by then counts.
    """

    def __call__(
        self, tasks: Sequence[T_in], on_bytes: Callable[[int], None]
    ) -> tuple[Sequence[R_out], Interrupted | None]:
        """The results of these tasks, fewer if a signal ended the work."""


class Engine(Protocol[T, R_out]):
    """Runs chunks of tasks, in any order. `deaths` counts how often workers were killed."""

    deaths: int

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R_out | None], None, None]:
        """Each task and its result; None for a task that killed its worker.

        `on_bytes` hears now and then of bytes that are done, 0 of them if there is nothing new.
        """

    def stop(self) -> Generator[tuple[T, R_out | None], None, None]:
        """After an end of `run` before its time: what was finished by then."""
