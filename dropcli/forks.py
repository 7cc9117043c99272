"""Copies of this process that share its work, without a lock of the interpreter between them.

They begin with all that is in memory here, so a task is handed over as a mere number.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from dropcli import signals
from dropcli.errors import DropcliError

_AHEAD = 2  # tasks that each has, so that none waits for the next
_WINDOW = 64  # tasks that are handed out, from the first that is not done
_GRACE = 1.0  # seconds for a process to end that was killed

T = TypeVar("T")
R = TypeVar("R")


def is_alone() -> bool:
    """Whether no other thread is here, which might hold a lock at the moment of the copy."""
    return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1


class Forks(Generic[R]):
    """Processes that do tasks by their numbers; each is given rising ones.

    To be made where `is_alone`, and to be ended; OSError if the system starts no more processes.
    """

    def __init__(self, do: Callable[[int], R], count: int) -> None:
        import multiprocessing  # slow to import, and only large files need it

        self._context = multiprocessing.get_context("fork")
        self._processes: dict[Any, Any] = {}  # by our end of the pipe to each
        try:
            for _ in range(count):
                with signals.held():  # a process that is starting is not known yet
                    self._start(do)
        except BaseException:
            self.end()
            raise

    def _start(self, do: Callable[[int], R]) -> None:
        ours, theirs = self._context.Pipe()
        with theirs:
            arguments = (do, theirs, [ours, *self._processes])
            process = self._context.Process(target=_serve, args=arguments)
            process.start()
        self._processes[ours] = process

    def in_order(self, tasks: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Each task, and what `do` made of its number from 0 on, or the error that it raised."""
        from multiprocessing.connection import wait

        coming = enumerate(tasks)
        idle = deque(list(self._processes) * _AHEAD)
        handed_out: deque[tuple[int, T]] = deque()
        results: dict[int, R | Exception] = {}
        while True:
            while idle and len(handed_out) < _WINDOW and (task := next(coming, None)):
                _talk(idle.popleft().send, task[0])
                handed_out.append(task)
            if not handed_out:
                return
            if handed_out[0][0] in results:
                number, first = handed_out.popleft()
                yield first, _value(results.pop(number))
                continue
            for connection in wait(list(self._processes)):
                number, result = _talk(connection.recv)  # type: ignore[union-attr]
                results[number] = result
                idle.append(connection)

    def end(self) -> None:
        """Stop them, whatever they do."""
        for process in self._processes.values():
            process.kill()
        for connection, process in self._processes.items():
            process.join(_GRACE)
            connection.close()
        self._processes = {}


def _talk(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except (EOFError, ConnectionError) as error:
        raise DropcliError(
            "worker-died",
            "expected its worker processes to live, but one was killed",
            "is there enough memory?",
        ) from error


def _value(result: R | Exception) -> R:
    if isinstance(result, Exception):
        raise result
    return result


def _serve(do: Callable[[int], R], connection: Any, others: list[Any]) -> None:
    """In a copy: do what is asked for, until nobody asks any more.

    Signals are for the process that began it, which then ends this one.
    """
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:  # or it would not show that they are gone
        other.close()
    with suppress(EOFError, ConnectionError):
        while True:
            number = connection.recv()
            try:
                result: R | Exception = do(number)
            except Exception as error:  # noqa: BLE001  # whoever asked gets it
                result = error
            connection.send((number, result))
