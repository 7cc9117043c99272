"""Worker processes. If one dies, only the task that killed it fails."""

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

_TICK = 0.2  # seconds between checks of the workers
_NO_THREADS = "the system starts no more threads"
_GRACE = 1.0  # seconds for workers to remove unfinished files

T = TypeVar("T")
R = TypeVar("R")


class Processes(Engine[T, R]):
    """Runs tasks in worker processes. If one dies, only the task that killed it fails."""

    def __init__(self, work: Work[T, R], jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        # Without a lock, which a killed worker might hold. The progress bar may be slightly late.
        self._counter: Any = multiprocessing.RawValue("q", 0)
        self._counted = 0
        self._running: dict[Future[Sequence[R]], list[T]] = {}
        self._lost_threads: list[BaseException] = []  # of the pool, without which it waits forever

    @property
    def slots(self) -> int:
        return self._jobs

    def run(
        self, chunks: Iterable[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        """Give every worker one chunk and keep one more waiting for it."""
        with _noting_lost_threads(self._lost_threads):
            yield from self._run(iter(chunks), on_bytes)

    def _run(
        self, waiting: Iterator[list[T]], on_bytes: Callable[[int], None]
    ) -> Generator[tuple[T, R | None], None, None]:
        pool = self._pool(self._jobs)
        try:
            while True:
                lost = self._submit(pool, waiting)
                if not self._running and not lost:
                    return
                done, _ = wait(self._running, _TICK, FIRST_COMPLETED)
                self._check_threads()
                on_bytes(self._news())
                lost += yield from self._collect(done)
                if lost:  # a broken pool loses all chunks in flight, not only the one that broke it
                    self.deaths += 1
                    _end(pool)
                    lost += yield from self._collect(self._finished())
                    yield from self._find_culprits(lost)
                    pool = self._pool(self._jobs)
        finally:
            self.deaths += _end(pool)

    def stop(self) -> Generator[tuple[T, R | None], None, None]:
        """Yield what the workers had finished when `run` ended them."""
        yield from self._collect(wait(self._running, _TICK).done)

    def _submit(self, pool: ProcessPoolExecutor, waiting: Iterator[list[T]]) -> list[T]:
        """Submit chunks; return the tasks of the chunk for which the pool was already broken."""
        while len(self._running) < 2 * self._jobs:
            chunk = next(waiting, None)
            if chunk is None:
                break
            try:
                with signals.deferred(), _starting(), _blocked():  # the pool may start workers
                    self._running[pool.submit(_run, self._work, chunk)] = chunk
            except BrokenExecutor:
                return chunk
        return []

    def _collect(
        self, done: Iterable[Future[Sequence[R]]]
    ) -> Generator[tuple[T, R], None, list[T]]:
        """Yield each task with its result; return the tasks without a result."""
        lost: list[T] = []
        for future in done:
            chunk = self._running.pop(future)
            # Not caught with `except`, which would also catch a signal to this process.
            failed = future.cancelled() or future.exception()
            if isinstance(failed, Exception) and not isinstance(failed, BrokenExecutor):
                raise failed
            results = [] if failed else future.result()
            yield from zip(chunk, results, strict=False)
            lost += chunk[len(results) :]
        return lost

    def _find_culprits(self, suspects: list[T]) -> Generator[tuple[T, R | None], None, None]:
        """Run each task alone; a task that kills its worker again is the culprit."""
        pool = self._pool(1)
        try:
            for task in suspects:
                broken = self._submit(pool, iter([[task]]))
                broken += yield from self._collect(self._finished())
                if broken:
                    yield task, None
                    _end(pool)
                    pool = self._pool(1)
        finally:
            _end(pool)

    def _finished(self) -> Iterable[Future[Sequence[R]]]:
        """Wait for all that was submitted."""
        while wait(self._running, _TICK).not_done:
            self._check_threads()
        return [*self._running]

    def _check_threads(self) -> None:
        if self._lost_threads:
            raise _no_workers(_NO_THREADS)

    def _pool(self, jobs: int) -> ProcessPoolExecutor:
        context = self._context()
        return ProcessPoolExecutor(jobs, context, _begin_worker, (self._counter,))

    def _context(self) -> Any:
        """The start method: fork, which is fast; a fork server if this process may hold locks."""
        if _is_alone():
            return multiprocessing.get_context("fork")
        context: Any = multiprocessing.get_context("forkserver")
        # The server imports the module of the function once for all workers.
        context.set_forkserver_preload([getattr(self._work, "func", self._work).__module__])
        with _starting():
            _start_forkserver()
        return context

    def _news(self) -> int:
        value = int(self._counter.value)
        news, self._counted = value - self._counted, value
        return news


def _is_alone() -> bool:
    """Whether this process has a single thread, so that no lock is held in a fork."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1
    return False  # macOS, where forks may crash in system libraries


@contextmanager
def _blocked() -> Iterator[None]:
    """Block signals in processes that start inside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_forkserver() -> None:
    """Start it with signals blocked, so that a signal to all processes does not end it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    resource_tracker.ensure_running()  # unblocks the other two signals
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)


@contextmanager
def _starting() -> Iterator[None]:
    """Keep other code out of processes that start, and explain why the system starts none."""
    main, safe_path = sys.modules["__main__"], os.environ.get("PYTHONSAFEPATH")
    sys.modules["__main__"] = ModuleType("__main__")  # workers would import it without need
    os.environ["PYTHONSAFEPATH"] = "1"  # or `python -c` imports from the current folder first
    try:
        yield
    except BrokenExecutor:
        raise
    except (OSError, EOFError, RuntimeError) as error:
        threads = isinstance(error, RuntimeError)  # the threads of the pool could not start
        ended = _NO_THREADS if threads else "they ended at once"
        raise _no_workers(getattr(error, "strerror", None) or ended) from error
    finally:
        sys.modules["__main__"] = main
        del os.environ["PYTHONSAFEPATH"]
        if safe_path is not None:
            os.environ["PYTHONSAFEPATH"] = safe_path


def _no_workers(reason: str) -> FileError:
    message = f"worker processes cannot be started: {reason.lower()}"
    return FileError("no-workers", message, "add -j 1")


@contextmanager
def _noting_lost_threads(lost: list[BaseException]) -> Iterator[None]:
    """Note what ends a thread for lack of memory: a pool never says that its own thread ended."""
    before = threading.excepthook

    def note(arguments: threading.ExceptHookArgs) -> None:
        if isinstance(arguments.exc_value, RuntimeError | MemoryError):
            lost.append(arguments.exc_value)
        else:
            before(arguments)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before


def _end(pool: ProcessPoolExecutor) -> int:
    """End the workers, in any state of the pool; return how many had to be killed."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()
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


# Both are set in worker processes.
_counter: Any = None
_lacks_thread = False


def _begin_worker(counter: Any) -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends."""
    global _counter, _lacks_thread
    _counter = counter
    signals.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    try:
        threading.Thread(target=_follow_parent, daemon=True).start()
    except RuntimeError:  # an exception here would be printed
        _lacks_thread = True


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        if os.getppid() == parent.pid:  # a fork inherits the pipe that would show the parent's end
            while os.getppid() == parent.pid:
                time.sleep(_TICK)
        else:
            parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)


def _run(work: Work[T, R], chunk: list[T]) -> Sequence[R]:
    """Run in a worker. Signals are delivered during work, and deferred while the worker is idle.

    After a signal a worker returns no more results, until its pool ends it.
    """
    if _lacks_thread:
        raise _no_workers(_NO_THREADS)
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
