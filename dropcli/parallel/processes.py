"""Worker processes, of which any may die: it costs the task that killed it, and no other."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from types import ModuleType
from typing import Any, TypeVar

from dropcli.errors import FileError, Interrupted
from dropcli.parallel import signals
from dropcli.parallel.engines import Engine, Work

_TICK = 0.2  # seconds between two looks at the workers
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 1.0  # seconds for workers to remove what is unfinished

T = TypeVar("T")
R = TypeVar("R")


class Processes(Engine[T, R]):
    """In worker processes. One that dies costs the task that killed it; the others go on."""

    def __init__(self, work: Work[T, R], jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._context: Any = multiprocessing.get_context(_METHOD)
        warm_up(module_of(work))
        # Without a lock, which a worker that is killed may hold: a bar may be a little behind.
        self._counter = self._context.RawValue("q", 0)
        self._counted = 0
        self._running: dict[Future[Sequence[R]], list[T]] = {}

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """Keep every worker busy with one chunk and another waiting."""
        waiting = iter(chunks)
        pool = self._pool(self._jobs)
        try:
            while True:
                lost = self._submit(pool, waiting)
                if not self._running and not lost:
                    return
                done, _ = wait(self._running, _TICK, FIRST_COMPLETED)
                on_bytes(self._news())
                lost += yield from self._collect(done)
                if lost:  # with the pool all that was under way is lost, guilty or not
                    self.deaths += 1
                    _end(pool)
                    lost += yield from self._collect(wait(self._running).done)
                    yield from self._find_culprits(lost)
                    pool = self._pool(self._jobs)
        finally:
            self.deaths += _end(pool)

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """What the workers had finished; they have ended with `run`."""
        yield from self._collect(wait(self._running, _TICK).done)

    def _submit(self, pool: ProcessPoolExecutor, waiting: Iterator[list[T]]) -> list[T]:
        """Hand over chunks; gives the tasks of the one that found the pool broken."""
        while len(self._running) < 2 * self._jobs:
            chunk = next(waiting, None)
            if chunk is None:
                break
            try:
                with (
                    signals.deferred(),  # a worker that is starting is not known yet
                    _hidden_main(),
                    _safe_path(),
                    _explained(),
                ):
                    self._running[pool.submit(_run, self._work, chunk)] = chunk
            except BrokenExecutor:
                return chunk
        return []

    def _collect(
        self, done: Iterable[Future[Sequence[R]]]
    ) -> Generator[tuple[T, R], None, list[T]]:
        """Each task and its result; returns the tasks that have none."""
        lost: list[T] = []
        for future in done:
            chunk = self._running.pop(future)
            # Asked, not caught: a signal to this process must not be taken for a worker's.
            failed = future.cancelled() or future.exception()
            if isinstance(failed, Exception) and not isinstance(failed, BrokenExecutor):
                raise failed
            results = [] if failed else future.result()
            yield from zip(chunk, results, strict=False)
            lost += chunk[len(results) :]
        return lost

    def _find_culprits(self, suspects: list[T]) -> Generator[tuple[T, R | None], None, None]:
        """Each task by itself: the one that kills its worker again is found out."""
        pool = self._pool(1)
        try:
            for task in suspects:
                broken = self._submit(pool, iter([[task]]))
                broken += yield from self._collect(wait(self._running).done)
                if broken:
                    yield task, None
                    _end(pool)
                    pool = self._pool(1)
        finally:
            _end(pool)

    def _pool(self, jobs: int) -> ProcessPoolExecutor:
        arguments = (self._counter,)
        return ProcessPoolExecutor(jobs, self._context, _begin_worker, arguments)

    def _news(self) -> int:
        value = int(self._counter.value)
        news, self._counted = value - self._counted, value
        return news


def module_of(work: Work[T, R]) -> str:
    """The module of the function, which is then imported once for all workers."""
    return str(getattr(work, "func", work).__module__)


def warm_up(preload: str) -> None:
    """Start what forks the workers, which imports this module while we do something else."""
    if _METHOD == "forkserver":
        multiprocessing.get_context(_METHOD).set_forkserver_preload([preload])
        with _explained(), _safe_path():
            _start_forkserver()


def _start_forkserver() -> None:
    """With signals blocked, so that what is meant for all processes leaves it standing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    resource_tracker.ensure_running()  # which lifts the block of the other two
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)


@contextmanager
def _explained() -> Iterator[None]:
    """What the system says when it cannot start processes, in words that name the way out."""
    try:
        yield
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "they ended at once"
        raise FileError(
            "no-workers", f"expected worker processes to start, got {reason.lower()}", "add -j 1"
        ) from error


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Workers need nothing of the main module, which they would import as they start."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _safe_path() -> Iterator[None]:
    """Started with `-c`, Python imports from the current folder first, which may be anybody's."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _terminate() -> None:
    for process in multiprocessing.active_children():
        process.terminate()


def _end(pool: ProcessPoolExecutor) -> int:
    """Let go of the workers, whatever state the pool is in; gives how many had to be killed."""
    pool.shutdown(wait=False, cancel_futures=True)
    _terminate()
    deadline = time.monotonic() + _GRACE
    killed = 0
    for process in multiprocessing.active_children():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive() and process.pid:
            killed += 1
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.join(_TICK)
    return killed


_counter: Any = None  # of a worker


def _begin_worker(counter: Any) -> None:
    """A worker leaves Ctrl-C to the process that started it, and does not outlive it."""
    global _counter
    _counter = counter
    signals.install()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)


def _run(work: Work[T, R], chunk: list[T]) -> Sequence[R]:
    """In a worker: signals are heard at work, and wait while it is idle.

    One that was told to end gives no more results; it ends with its pool.
    """
    if signals.delivered():
        return []
    try:
        signals.deliver()
        results, _ = work(chunk, _count)
    except Interrupted:
        results = []
    if not signals.delivered():
        signals.install()
    return results


def _count(nbytes: int) -> None:
    _counter.value += nbytes
