"""Signals that end the command raise Interrupted, which unwinds and removes what is unfinished.

While modules are imported a signal waits: some of them, numpy among them, lose exceptions that
arrive meanwhile.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dropcli.errors import Interrupted

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_holds = 0
_waiting: int | None = None
_raised = False


def hold() -> dict[int, Any]:
    """From now on signals are heard, and wait for `release`; gives the handlers that were there.

    To hold twice is to hold.
    """
    global _holds
    _holds = 1
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup
    return {number: signal.signal(number, _hear) for number in heard}


def release() -> None:
    """Raise Interrupted for a signal that waits, and from now on at once."""
    global _holds
    _holds -= 1
    if _waiting is not None and not _holds and not _raised:
        _raise(_waiting)


def raised() -> bool:
    """Whether a signal has come through, which none will do again."""
    return _raised


def restore(handlers: dict[int, Any]) -> None:
    """Put back the handlers that were there."""
    global _waiting, _raised
    _waiting, _raised = None, False
    for number, handler in handlers.items():
        signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def held() -> Iterator[None]:
    """While this lasts, signals wait."""
    global _holds
    _holds += 1
    try:
        yield
    finally:
        release()


def _hear(number: int, frame: FrameType | None) -> None:
    global _waiting
    if _raised:  # no further signal is to disturb the unwinding
        return
    if _holds:
        _waiting = _waiting or number
    else:
        _raise(number)


def _raise(number: int) -> None:
    global _raised
    _raised = True
    raise Interrupted(number)
