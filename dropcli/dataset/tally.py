"""What came of many files: totals, the slowest, the failed."""

import heapq
import re
from bisect import insort
from dataclasses import dataclass, field

from dropcli.dataset.tasks import Outcome, TensorRow
from dropcli.errors import DropcliError, TensorError
from dropcli.pipeline import Notices

_SLOWEST = 3
_OF_SOURCES = {"looks-like-label", "looks-like-nhwc", "nothing-selected", "unknown-classes"}
_MAX_NAMES = 1000  # of tensors, each with a row; the rest has one together
_MAX_REASONS = 5  # of one name


@dataclass
class NameTotals:
    """What was done to the tensors of one name."""

    dropped_in: int = 0  # outputs
    copied_in: int = 0  # outputs
    reasons: set[str] = field(default_factory=set)  # why they are copied, the first few
    decisions: int = 0
    dropped: int = 0
    expected: float = 0.0  # decisions that p drops on average

    def add(self, more: "NameTotals") -> None:
        self.dropped_in += more.dropped_in
        self.copied_in += more.copied_in
        self.reasons = set(sorted(self.reasons | more.reasons)[:_MAX_REASONS])
        self.decisions += more.decisions
        self.dropped += more.dropped
        self.expected += more.expected

    @property
    def asked(self) -> float | None:
        """The rate asked for over all decisions."""
        return self.expected / self.decisions if self.decisions else None

    @property
    def rate(self) -> float | None:
        """The realised rate over all decisions."""
        return self.dropped / self.decisions if self.decisions else None


class TensorNames:
    """Totals for each tensor name; of very many names the first in order, and one for the rest.

    Numbers in names are ordered as numbers: `layers.2` comes before `layers.10`.

    A name that gives way to an earlier one never comes back, so the order of the files is no
    matter.
    """

    def __init__(self) -> None:
        self.total = NameTotals()
        self.rest = NameTotals()
        self._rows: dict[str, NameTotals] = {}
        self._order: list[str] = []

    def add(self, row: TensorRow) -> None:
        one = NameTotals(1, 0, set(), row.decisions, row.dropped, row.expected)
        if row.kept_as is not None:
            one = NameTotals(0, 1, {row.kept_as})
        self.total.add(one)
        self._totals_of(row.name).add(one)

    def rows(self) -> list[tuple[str, NameTotals]]:
        """The names in order, those that drop first."""
        found = [(name, self._rows[name]) for name in self._order]
        return sorted(found, key=lambda item: not item[1].dropped_in)

    def _totals_of(self, name: str) -> NameTotals:
        if name in self._rows:
            return self._rows[name]
        if len(self._order) >= _MAX_NAMES and _natural(name) > _natural(self._order[-1]):
            return self.rest
        insort(self._order, name, key=_natural)
        self._rows[name] = NameTotals()
        if len(self._order) > _MAX_NAMES:
            self.rest.add(self._rows.pop(self._order.pop()))
        return self._rows[name]


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """The key that orders names by their numbers, of any length, and by the words between them."""
    words = re.split("([0-9]+)", name)
    words[1::2] = [number.lstrip("0") for number in words[1::2]]
    return [(len(word) if n % 2 else 0, word) for n, word in enumerate(words)], name


@dataclass
class Tally:
    """The outcome of a dataset run, the same in whatever order its files were done.

    With `keep` it remembers every file, about a kilobyte each; else only those that failed.
    """

    keep: bool = False
    inputs: int = 0
    left: int = 0  # files without tensors, not looked into
    kept_names: list[str] = field(default_factory=list)  # of several folders, below the output
    planned: int = 0  # outputs
    written: int = 0
    skipped: int = 0
    nbytes: int = 0  # of what was written
    names: TensorNames = field(default_factory=TensorNames)
    selected: int = 0  # outputs in which tensors drop
    unselected: int = 0  # outputs in which none does, though some were meant to
    notices: Notices = field(default_factory=Notices)
    failures: list[DropcliError] = field(default_factory=list)  # of what has no task
    slowest: list[tuple[float, str]] = field(default_factory=list)
    _done: list[Outcome] = field(default_factory=list)
    _failed: list[Outcome] = field(default_factory=list)
    _first_unselected: tuple[int, DropcliError] | None = None

    def add(self, outcome: Outcome) -> None:
        """Take in what came of a task."""
        if outcome.error:
            self._failed.append(outcome)
            return
        if self.keep:
            self._done.append(outcome)
        if outcome.skipped:
            self.skipped += 1
        else:
            self.written += 1
            self.nbytes += outcome.nbytes
        for row in outcome.rows:
            self.names.add(row)
        if not outcome.task.untouched:
            self._count_selection(outcome)
        for notice in outcome.notices:
            if outcome.task.job.copy > 1 and notice.code in _OF_SOURCES:
                continue  # which was said of the first copy
            self.notices.add(notice, outcome.task.job.source, outcome.task.number)
        if not outcome.skipped:
            time = (outcome.seconds, outcome.task.job.output)
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, time])

    def _count_selection(self, outcome: Outcome) -> None:
        if any(row.kept_as is None for row in outcome.rows):
            self.selected += 1
            return
        self.unselected += 1
        found = (outcome.task.number, outcome.unselected)
        if found[1] and (self._first_unselected is None or found < self._first_unselected):
            self._first_unselected = found[0], found[1]

    @property
    def nothing_selected(self) -> DropcliError | None:
        """The error of a run that dropped nothing, as no tensor of any file was selected."""
        if self.selected or not self._first_unselected:
            return None
        files = (
            f"none of {self.unselected:,} files has a" if self.unselected > 1 else "the file has no"
        )
        message = f"{files} selected tensor, so nothing is dropped"
        return TensorError("nothing-selected", message, self._first_unselected[1].hint)

    @property
    def files(self) -> list[Outcome]:
        """The files that are done, in the order of the plan, if they are kept."""
        return sorted(self._done, key=lambda outcome: outcome.task.number)

    @property
    def errors(self) -> list[DropcliError]:
        """Every failure once, though it may have cost several copies, in the order of the plan."""
        failed = sorted(self._failed, key=lambda outcome: outcome.task.number)
        errors = [*self.failures, *(outcome.error for outcome in failed if outcome.error)]
        return list({(str(error), error.code): error for error in errors}.values())

    @property
    def missed(self) -> int:
        """Outputs that were not tried, after an early end."""
        return self.planned - self.done - len(self._failed)

    @property
    def failed(self) -> bool:
        """Whether anything has failed so far."""
        return bool(self.failures or self._failed)

    @property
    def done(self) -> int:
        """Outputs that are there, by this run or by one before it."""
        return self.written + self.skipped
