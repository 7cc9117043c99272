"""What came of many files: totals, the slowest, the failed."""

import heapq
from dataclasses import dataclass, field

from dropcli.dataset.tasks import Outcome
from dropcli.errors import DropcliError

_SLOWEST = 3


@dataclass
class Tally:
    """The outcome of a dataset run, the same in whatever order its files were done.

    With `keep` it remembers every file, about a kilobyte each; else only those that failed.
    """

    keep: bool = False
    inputs: int = 0
    left: int = 0  # files without tensors, not looked into
    planned: int = 0  # outputs
    written: int = 0
    skipped: int = 0
    nbytes: int = 0  # of what was written
    decisions: int = 0
    dropped: int = 0
    expected: float = 0.0  # what p would have dropped on average
    failures: list[DropcliError] = field(default_factory=list)  # of what has no task
    warnings: list[tuple[int, str]] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    _done: list[Outcome] = field(default_factory=list)
    _failed: list[Outcome] = field(default_factory=list)

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
        self.decisions += outcome.decisions
        self.dropped += outcome.dropped
        self.expected += outcome.expected
        self.warnings += [(outcome.task.number, warning) for warning in outcome.warnings]
        if not outcome.skipped:
            time = (outcome.seconds, outcome.task.job.output)
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, time])

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

    @property
    def asked(self) -> float | None:
        """The rate asked for over all decisions."""
        return self.expected / self.decisions if self.decisions else None

    @property
    def rate(self) -> float | None:
        """The realised rate over all decisions."""
        return self.dropped / self.decisions if self.decisions else None
