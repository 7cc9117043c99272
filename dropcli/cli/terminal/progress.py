"""Progress on standard error: a bar on a terminal, otherwise a line from time to time."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dropcli.cli.terminal import console
from dropcli.cli.terminal.layout import elided, width_of
from dropcli.parallel import signals
from dropcli.pipeline import Progress

_PATIENCE = 0.5  # seconds before a bar appears
_FIRST_LINE = 10.0  # seconds before the first line, if there is no terminal
_LINES = 30.0  # seconds between lines
_BAR = 10  # columns of a bar, at least
_LABEL = 16  # columns of a label on a narrow screen


class _Counting(Progress, ABC):
    """Counts the work, and shows the counts regularly; `label` names the work."""

    def __init__(self, label: str, patience: float) -> None:
        self._label = label
        self._started = time.monotonic()
        self._next = self._started + patience
        self._total_files = self._total_bytes = 0
        self._files = self._bytes = self._failed = 0

    def begin(self, files: int, nbytes: int) -> None:
        self._total_files, self._total_bytes = files, nbytes

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        self._files += files
        # Work that is repeated after a worker was lost is counted once.
        self._bytes = min(self._bytes + nbytes, self._total_bytes)
        self._failed += failed
        if time.monotonic() >= self._next:
            self._show()

    @abstractmethod
    def _show(self) -> None: ...

    def end(self) -> None:
        """Remove the progress from the screen."""

    def _counts(self) -> str:
        """The number of files, if there are several."""
        return f"{self._files:,} of {self._total_files:,} files" if self._total_files > 1 else ""

    def _failures(self) -> str:
        return f"{self._failed:,} failed" if self._failed else ""


class _Lines(_Counting):
    def _show(self) -> None:
        now = time.monotonic()
        self._next = now + _LINES
        words = [self._counts(), self._failures()]
        if self._total_bytes:
            share = min(1.0, self._bytes / self._total_bytes)
            left = (now - self._started) * (1 - share) / share if share else 0
            rate = self._bytes / (now - self._started) / 1e6
            words += [f"{share:.0%}", f"{rate:,.0f} MB/s", f"{left:,.0f} s left"]
        console.note(f"{self._label}: {', '.join(word for word in words if word)}")


class _Bar(_Counting):
    _bar: Any = None

    def _show(self) -> None:
        files_only = not self._total_bytes  # in a dry run
        if self._bar is None:
            # A signal in between would leave the cursor hidden, without a bar to show it again.
            with signals.deferred():
                from rich.progress import Progress as RichProgress

                self._bar = RichProgress(console=console.rich_console(sys.stderr), transient=True)
                self._bar.columns = self._columns(self._bar.console.width)
                self._bar.add_task("", total=self._total_files if files_only else self._total_bytes)
                self._bar.start()
        self._bar.columns = self._columns(self._bar.console.width)
        done = self._files if files_only else self._bytes
        self._bar.update(self._bar.task_ids[0], completed=done)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _columns(self, width: int) -> list[Any]:
        """The columns that fit on one line, besides the label, the bar and the percentage."""
        from rich import progress

        room = width - _BAR - len(" 100%")
        label_room = max(room // 2, min(_LABEL, room - len(" 0:00:00")))
        ellipsis = console.screen_of(sys.stderr).ellipsis
        label = (elided([self._label], label_room, ellipsis) or [self._label])[0]
        room -= width_of(label) + 1
        counts, failures, nbytes = self._counts(), self._failures(), self._total_bytes
        optional = [  # with their rank and width; the highest rank is left out first
            (3, progress.TextColumn(counts), len(counts)),
            (1, progress.TextColumn(failures, "red"), len(failures)),
            (5, progress.DownloadColumn(), len("100.0/100.0 MB") if nbytes else 0),
            (4, progress.TransferSpeedColumn(), len("100.0 MB/s") if nbytes else 0),
            (2, progress.TimeRemainingColumn(), len("0:00:00")),
        ]
        ranks = set()
        for rank, _, size in sorted(optional, key=lambda one: one[0]):
            if size and size < room:
                ranks.add(rank)
                room -= size + 1
        return [
            progress.TextColumn(label.replace("{", "{{").replace("}", "}}"), markup=False),
            progress.BarColumn(None, complete_style="green", finished_style="green"),
            progress.TextColumn("{task.percentage:>3.0f}%"),
            *(column for rank, column, _ in optional if rank in ranks),
        ]


@contextmanager
def progress(label: str, *, enabled: bool, lines: bool) -> Iterator[Progress]:
    """Show the progress of a run; `lines` allows lines if there is no terminal."""
    shown: _Counting | None = None
    if enabled and console.is_terminal(sys.stderr):
        shown = _Bar(label, _PATIENCE)
    elif enabled and lines:
        shown = _Lines(label, _FIRST_LINE)
    try:
        yield shown or Progress()
    finally:
        if shown:
            shown.end()
