"""Run work on any `concurrent.futures.Executor`: other processes, or the workers of a cluster.

A worker may die. Executors that replace it run its chunk again, and give up after some attempts.
Then each task of the chunk runs alone, and only a task that kills its worker again fails.
"""

import os
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from typing import Any, TypeAlias, TypeVar

from dropcli.__version__ import __version__
from dropcli.errors import DropcliError, FileError
from dropcli.parallel.engines import Engine, Work

_TICK = 0.2  # seconds between checks of the workers
_SLOTS = 16  # if the executor does not say how many it has
# What executors raise when a worker dies, by name, because Dask and Parsl are slow to import.
_DEATHS = {"KilledWorker", "ManagerLost", "WorkerLost"}

T = TypeVar("T")
R = TypeVar("R")
Done: TypeAlias = tuple[Sequence[R], int]  # results, and the number of bytes


class Pool:
    """A given executor, and the number of chunks that it runs at once."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    @property
    def slots(self) -> int:
        names = ("_max_workers", "num_workers", "max_workers")
        known = (getattr(self.executor, name, None) for name in names)
        return next((number for number in known if isinstance(number, int)), 0) or _SLOTS

    def check(self) -> None:
        """Raise DropcliError if the workers are lost; called at every tick."""

    def lost(self) -> DropcliError:
        """The error for work that was cancelled, but not by this run."""
        return FileError(
            "executor-lost",
            "the executor was shut down",
            "create a new one, then continue with --resume",
        )


class Futures(Engine[T, R]):
    """Runs chunks on the workers of a pool."""

    remote = True

    def __init__(self, work: Work[T, R], pool: Pool) -> None:
        self._work = work
        self._pool = pool
        self._running: dict[Future[Done[R]], list[T]] = {}

    @property
    def slots(self) -> int:
        """The number of slots, which changes when a cluster grows or shrinks."""
        return max(1, self._pool.slots)

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """Give every worker one chunk, and keep one more waiting for it."""
        waiting = iter(chunks)
        try:
            while True:
                self._submit(waiting, 2 * self.slots)
                if not self._running:
                    return
                lost = yield from self._collect(on_bytes)
                if lost:  # all tasks of the worker, not only the one that killed it
                    self.deaths += 1
                    while self._running:
                        lost += yield from self._collect(on_bytes)
                    yield from self._find_culprits(lost, on_bytes)
        finally:
            for future in self._running:
                future.cancel()  # chunks that have begun continue elsewhere

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """Yield what was finished when `run` ended."""
        done = {future for future in self._running if future.done() and not future.cancelled()}
        for future in done:
            chunk = self._running.pop(future)
            if not future.exception():
                yield from zip(chunk, future.result()[0], strict=False)

    @property
    def unfinished(self) -> int:
        return sum(map(len, self._running.values()))

    def _submit(self, waiting: Iterator[list[T]], most: int) -> None:
        while len(self._running) < most and (chunk := next(waiting, None)) is not None:
            call = call_elsewhere(_run, self._work, chunk)
            try:
                future = self._pool.executor.submit(pickle.loads, call)
            except (BrokenExecutor, RuntimeError) as error:
                raise self._pool.lost() from error
            self._running[future] = chunk

    def _collect(self, on_bytes: Callable[[int], None]) -> Generator[tuple[T, R], None, list[T]]:
        """Yield each task that is done soon, with its result; return tasks whose worker died."""
        lost: list[T] = []
        done, _ = wait(self._running, _TICK, FIRST_COMPLETED)
        self._pool.check()
        on_bytes(0)
        for future in done:
            chunk = self._running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                results, nbytes = future.result()
                on_bytes(nbytes)
                yield from zip(chunk, results, strict=False)
                lost += chunk[len(results) :]
            elif type(error).__name__ in _DEATHS:
                lost += chunk
            else:
                raise self._failure(error) from error
        return lost

    def _find_culprits(
        self, suspects: list[T], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        for task in suspects:
            self._submit(iter([[task]]), 1)
            while self._running:
                if (yield from self._collect(on_bytes)):
                    yield task, None

    def _failure(self, error: BaseException) -> DropcliError:
        """The error for a failed chunk. Failures of files are not errors of their chunk."""
        if isinstance(error, DropcliError):
            return error
        if isinstance(error, BrokenExecutor | CancelledError):
            return self._pool.lost()
        if isinstance(error, ModuleNotFoundError):
            return missing_elsewhere("a worker")
        message = f"a worker failed: {type(error).__name__}: {error}".splitlines()[0]
        return FileError("worker-failed", message, "solve the problem, then continue with --resume")


class _Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        # Pickled inside, so that the version is compared before anything else is loaded.
        self._inner = pickle.dumps((function, arguments))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Different each time, or Dask would return the result of the first call for the second.
        return _call, (__version__, self._inner, os.urandom(8))


def call_elsewhere(function: Callable[..., Any], *arguments: Any) -> bytes:
    """Pickle a call, to run in a process that may have another version of dropcli or none.

    The worker runs it with `pickle.loads`. A function of dropcli would kill a Dask worker that has
    no dropcli, because it cannot unpickle the function.
    """
    return pickle.dumps(_Call(function, *arguments))


def _call(version: str, inner: bytes, _nonce: bytes) -> Any:
    if version != __version__:
        raise other_version(__version__)
    function, arguments = pickle.loads(inner)
    return function(*arguments)


def _run(work: Work[T, R], chunk: list[T]) -> Done[R]:
    counted = 0

    def count(nbytes: int) -> None:
        nonlocal counted
        counted += nbytes

    results, _ = work(chunk, count)
    return results, counted


def other_version(there: str) -> DropcliError:
    """The error for workers with another version of dropcli."""
    message = f"a worker has dropcli {there}, but this is {__version__}"
    return FileError("other-version", message, f"install dropcli=={__version__} on all workers")


def missing_elsewhere(worker: str) -> DropcliError:
    """The error for workers without dropcli; `worker` is one of them."""
    message = f"dropcli is not installed on {worker}"
    return FileError("no-dropcli", message, f"install dropcli=={__version__} on all workers")
