"""Signals that end the command raise Interrupted, so that unfinished files are removed.

During imports a signal is deferred, because some modules, such as numpy, swallow exceptions.
Python itself swallows exceptions in finalizers; in that case the signal is sent again.
"""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dropcli.errors import Interrupted

SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
_AGAIN = 0.001  # seconds until the finalizer that swallowed a signal has ended

_depth = 0
_waiting: int | None = None
_raised = False
_unraisable: "Callable[[sys.UnraisableHookArgs], object] | None" = None  # the previous hook


def install() -> dict[int, Any]:
    """Install handlers that defer signals until `deliver`; return the previous ones. Idempotent."""
    global _depth, _unraisable
    _depth = 1
    if _unraisable is None:
        _unraisable, sys.unraisablehook = sys.unraisablehook, _catch_lost
    # Under nohup, SIGHUP is ignored and stays so.
    handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, _receive) for number in handled}


def deliver() -> None:
    """Raise Interrupted for a deferred signal, and from now on for each signal that arrives."""
    global _depth
    _depth -= 1
    if _waiting is not None and not _depth and not _raised:
        _raise(_waiting)


def delivered() -> bool:
    """Whether Interrupted has been raised. It is raised only once."""
    return _raised


def restore(handlers: dict[int, Any]) -> None:
    """Restore the previous handlers.

    If they are our own, the process is about to end and nothing is left to interrupt.
    """
    global _depth, _waiting, _raised, _unraisable
    _depth = 1
    for number, handler in handlers.items():
        ours = handler is _receive
        signal.signal(number, signal.SIG_IGN if ours else handler or signal.SIG_DFL)
    if _unraisable is not None:
        sys.unraisablehook, _unraisable = _unraisable, None
    _depth, _waiting, _raised = 0, None, False


@contextmanager
def deferred() -> Iterator[None]:
    """Deliver signals that arrive inside the block when it ends."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        deliver()


def _receive(number: int, frame: FrameType | None) -> None:
    global _waiting
    if _raised:  # a second signal must not interrupt the cleanup
        return
    if _depth:
        _waiting = _waiting or number
    else:
        _raise(number)


def _raise(number: int) -> None:
    global _raised
    _raised = True
    raise Interrupted(number)


def _catch_lost(lost: "sys.UnraisableHookArgs") -> None:
    """Handle an exception in a finalizer, which Python swallows."""
    global _raised
    if isinstance(lost.exc_value, Interrupted):
        _raised = False
        # Without the locks of `Thread`, which the interrupted finalizer may hold.
        _thread.start_new_thread(_send_again, (lost.exc_value.number,))
    elif _unraisable is not None:
        _unraisable(lost)


def _send_again(number: int) -> None:
    time.sleep(_AGAIN)
    main = threading.main_thread().ident
    if _unraisable is not None and main is not None:  # the handlers are still ours
        signal.pthread_kill(main, number)  # wakes the main thread if it waits
