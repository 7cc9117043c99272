"""The outcomes of many files: totals, the slowest files, the failures."""

import heapq
import re
from bisect import insort
from dataclasses import dataclass, field

from dropcli.dataset.tasks import Outcome, TensorRow
from dropcli.errors import DropcliError, TensorError
from dropcli.pipeline import MAX_SAMPLED, SAMPLE_OF_ALL, Notices, Sample
from dropcli.report import NameTotals

_SLOWEST = 3
_MAX_NAMES = 1000  # of tensor names; all other names share one row
# Warnings about a source, which would be repeated for each of its copies.
_ABOUT_SOURCES = {"looks-like-label", "looks-like-nhwc", "nothing-selected", "unknown-classes"}


class Samples:
    """Samples of the first tensor names in order, at most `SAMPLE_OF_ALL` elements each.

    `outputs` is the total number of outputs. If there are very many, only some are sampled.
    """

    def __init__(self, outputs: int) -> None:
        self._every = -(-max(1, outputs) // SAMPLE_OF_ALL)
        self._found: dict[str, Sample] = {}

    def add(self, number: int, samples: dict[str, Sample]) -> None:
        """Add the samples of output `number`."""
        if number % self._every:
            return
        for name, sample in samples.items():
            self._found.setdefault(name, Sample()).merge(sample)
        for name in self._in_order()[MAX_SAMPLED:]:
            del self._found[name]

    def _in_order(self) -> list[str]:
        return sorted(self._found, key=_natural)

    def all(self) -> dict[str, Sample]:
        """The samples in the order of names."""
        return {name: self._found[name] for name in self._in_order()}


class TensorNames:
    """Totals for each tensor name. If there are too many, the last names in order share one row.

    Numbers in names are ordered as numbers: `layers.2` comes before `layers.10`.

    A name that was merged into the shared row stays there, so the result does not depend on the
    order of the files.
    """

    def __init__(self) -> None:
        self.total = NameTotals()
        self.rest = NameTotals()
        self._rows: dict[str, NameTotals] = {}
        self._order: list[str] = []

    def add(self, row: TensorRow) -> None:
        if row.kept_as is None:
            known = row.variance is not None or not row.decisions
            one = NameTotals(1, 0, set(), *row[2:5], row.variance or 0, known)
        else:
            one = NameTotals(0, 1, {row.kept_as})
        self.total.add(one)
        self._totals_of(row.name).add(one)

    def rows(self) -> list[tuple[str, NameTotals]]:
        """The names in order; names with dropped tensors come first."""
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
    """A sort key that compares numbers in names as numbers, and the text between them as text."""
    words = re.split("([0-9]+)", name)
    words[1::2] = [number.lstrip("0") for number in words[1::2]]
    return [(len(word) if n % 2 else 0, word) for n, word in enumerate(words)], name


@dataclass
class Tally:
    """The outcome of a dataset run. It does not depend on the order in which files are done.

    With `keep` it holds the report of each file, a few kilobytes; otherwise only failures.
    """

    keep: bool = False
    left: int = 0  # the number of files with other suffixes, which are not read
    # Of several folders; they are part of the output paths.
    kept_names: list[str] = field(default_factory=list)
    planned: int = 0  # the number of outputs
    unfit: int = 0  # the number of inputs, if the settings fit none of the first ones
    written: int = 0
    skipped: int = 0
    nbytes: int = 0  # written
    names: TensorNames = field(default_factory=TensorNames)
    samples: Samples = field(default_factory=lambda: Samples(0))
    selected: int = 0  # outputs with dropped tensors
    unselected: int = 0  # outputs without dropped tensors, where some were requested
    notices: Notices = field(default_factory=Notices)
    failures: list[DropcliError] = field(default_factory=list)  # for inputs that cannot be planned
    slowest: list[tuple[float, str]] = field(default_factory=list)
    _done: list[Outcome] = field(default_factory=list)
    _failed: list[Outcome] = field(default_factory=list)
    _unselected_hint: tuple[int, str | None] | None = None  # for the first output in the plan

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a task."""
        task = outcome.task
        if outcome.error:
            self._failed.append(outcome)
            return
        if self.keep:
            self._done.append(outcome._replace(line="", samples=None))
        if outcome.skipped:
            self.skipped += 1
        else:
            self.written += 1
            self.nbytes += outcome.nbytes
            self._add_time(outcome.seconds, task.job.output)
        self.samples.add(task.number, outcome.samples or {})
        for row in outcome.rows:
            self.names.add(row)
        if any(row.kept_as is None for row in outcome.rows):
            self.selected += 1
        elif not task.untouched:
            self.unselected += 1
            if outcome.unselected:
                found = task.number, outcome.unselected.hint
                self._unselected_hint = min(found, self._unselected_hint or found)
        for notice in outcome.notices:
            if task.job.copy <= 1 or notice.code not in _ABOUT_SOURCES:
                self.notices.add(notice, task.job.source, task.number)

    def _add_time(self, seconds: float, output: str) -> None:
        if len(self.slowest) < _SLOWEST or (seconds, output) > self.slowest[-1]:
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, (seconds, output)])

    @property
    def nothing_selected(self) -> DropcliError | None:
        """The error for a run in which no tensor of any file was selected."""
        if self.selected or not self.unselected:
            return None
        files = (
            f"none of {self.unselected:,} files has a" if self.unselected > 1 else "the file has no"
        )
        message = f"{files} selected tensor, so nothing is dropped"
        _, hint = self._unselected_hint or (0, None)  # the journal does not record it
        return TensorError("nothing-selected", message, hint)

    @property
    def files(self) -> list[Outcome]:
        """The outcomes of finished files in the order of the plan, if they are kept."""
        return sorted(self._done, key=lambda outcome: outcome.task.number)

    @property
    def errors(self) -> list[DropcliError]:
        """All failures in the order of the plan; one that several copies share appears once."""
        failed = sorted(self._failed, key=lambda outcome: outcome.task.number)
        errors = [*self.failures, *(outcome.error for outcome in failed if outcome.error)]
        return list({(str(error), error.code): error for error in errors}.values())

    @property
    def missed(self) -> int:
        """The number of outputs that were not tried because the run ended early."""
        return self.planned - self.done - len(self._failed)

    @property
    def failed(self) -> bool:
        """Whether anything has failed so far."""
        return bool(self.failures or self._failed)

    @property
    def done(self) -> int:
        """The number of outputs that are finished, in this run or an earlier one."""
        return self.written + self.skipped
