"""How far the work is: a bar on a terminal, elsewhere a line now and then, on standard error."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dropcli.cli import console
from dropcli.parallel import signals
from dropcli.pipeline import Progress

_PATIENCE = 0.5  # seconds before a bar appears
_FIRST_LINE = 10.0  # seconds before the first line, where there is no terminal
_LINES = 30.0  # seconds between lines


class _Counting(Progress, ABC):
    """Counts what is done, and shows it when it is time."""

    def __init__(self, patience: float) -> None:
        self._next = time.monotonic() + patience
        self._total_files = self._total_bytes = 0
        self._files = self._bytes = self._failed = 0

    def begin(self, files: int, nbytes: int) -> None:
        self._total_files, self._total_bytes = files, nbytes

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        self._files += files
        # What is done twice, after a worker was lost, does not count twice.
        self._bytes = min(self._bytes + nbytes, self._total_bytes)
        self._failed += failed
        if time.monotonic() >= self._next:
            self._show()

    @abstractmethod
    def _show(self) -> None: ...

    def end(self) -> None:
        """Leave nothing on the screen."""

    def _counts(self) -> str:
        """The files, where there are several."""
        words = [f"{self._files:,} of {self._total_files:,} files"] if self._total_files > 1 else []
        words += [f"{self._failed:,} failed"] if self._failed else []
        return ", ".join(words)


class _Lines(_Counting):
    def __init__(self) -> None:
        super().__init__(_FIRST_LINE)
        self._started = time.monotonic()

    def _show(self) -> None:
        now = time.monotonic()
        self._next = now + _LINES
        if not self._total_bytes:
            console.note(self._counts())
            return
        share = min(1.0, self._bytes / self._total_bytes)
        left = (now - self._started) * (1 - share) / share if share else 0
        rate = self._bytes / (now - self._started) / 1e6
        console.note(f"{self._counts()}, {share:.0%}, {rate:,.0f} MB/s, {left:,.0f} s left")


class _Bar(_Counting):
    def __init__(self) -> None:
        super().__init__(_PATIENCE)
        self._bar: Any = None

    def _show(self) -> None:
        if self._bar is None:
            with signals.deferred():  # who hides the cursor must be known, to give it back
                self._bar = _make_bar(self._total_bytes)
        self._bar.update(self._bar.task_ids[0], completed=self._bytes, counts=self._counts())

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(enabled: bool, *, lines: bool) -> Iterator[Progress]:
    """What shows the progress of a run; `lines` if it may say so where there is no terminal."""
    shown: _Counting | None = None
    if enabled and console.is_terminal(sys.stderr):
        shown = _Bar()
    elif enabled and lines:
        shown = _Lines()
    try:
        yield shown or Progress()
    finally:
        if shown:
            shown.end()


def _make_bar(total: int) -> Any:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts = TextColumn("{task.fields[counts]}", markup=False)
    rate = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(BarColumn(), counts, *rate, console=console.rich(sys.stderr), transient=True)
    bar.add_task("", total=total, counts="")
    bar.start()
    return bar
