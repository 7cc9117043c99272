"""The cores there are, and executors: threads, and one for work that is too short for them."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dropcli.errors import DropcliError

R = TypeVar("R")


def usable_cores() -> int:
    """The cores this process may run on, which a container or `taskset` may have narrowed."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Threads(ThreadPoolExecutor):
    """Threads, or DropcliError where the system starts no more of them."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Have it run by the next thread that is free."""
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            raise DropcliError(
                "no-threads",
                "expected a thread to start, got none",
                "end other processes, or lift a limit on memory or processes",
            ) from error


class Inline(Executor):
    """An executor without threads or processes, for work that is too short to hand over."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Run it now."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # whoever asks for the result gets it
            future.set_exception(error)
        return future
