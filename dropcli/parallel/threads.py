"""The number of cores, thread pools, and an executor without threads."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dropcli.errors import DropcliError

R = TypeVar("R")


def usable_cores() -> int:
    """The number of cores this process may use. Containers and `taskset` may limit it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Threads(ThreadPoolExecutor):
    """A thread pool whose `submit` raises DropcliError if the system cannot start a thread."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            raise DropcliError(
                "no-threads",
                "the system cannot start more threads",
                "end other processes, or raise the limits on memory and processes",
            ) from error


class Inline(Executor):
    """An executor that runs work at once, for work that is too short for a thread."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # raised again for the result
            future.set_exception(error)
        return future
