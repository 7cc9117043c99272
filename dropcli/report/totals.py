"""Totals over many files of what was done to tensors with one name."""

import math
from dataclasses import dataclass, field

_MAX_REASONS = 5  # for one name


@dataclass
class NameTotals:
    """Totals over the tensors with one name."""

    dropped_in: int = 0  # outputs
    copied_in: int = 0  # outputs
    reasons: set[str] = field(default_factory=set)  # why tensors are copied; at most _MAX_REASONS
    decisions: int = 0
    dropped: int = 0
    expected: int = 0  # sum over decisions of their p, times 2**32
    variance: int = 0  # of the number that drops, times 2**32
    by_chance: bool = True  # whether the variance is known for all tensors

    def add(self, more: "NameTotals") -> None:
        self.dropped_in += more.dropped_in
        self.copied_in += more.copied_in
        self.reasons = set(sorted(self.reasons | more.reasons)[:_MAX_REASONS])
        self.decisions += more.decisions
        self.dropped += more.dropped
        self.expected += more.expected
        self.variance += more.variance
        self.by_chance &= more.by_chance

    @property
    def asked(self) -> float | None:
        """p, averaged over all decisions."""
        return self.expected / 2**32 / self.decisions if self.decisions else None

    @property
    def rate(self) -> float | None:
        """The realised rate over all decisions."""
        return self.dropped / self.decisions if self.decisions else None

    @property
    def sigma(self) -> float | None:
        """How many standard deviations the rate is from p; None if that is not known."""
        if not (self.by_chance and self.variance):
            return None
        return (self.dropped - self.expected / 2**32) / math.sqrt(self.variance / 2**32)

    @property
    def rate_sd(self) -> float | None:
        """The standard deviation of the rate; None if it is not known."""
        if not (self.by_chance and self.variance and self.decisions):
            return None
        return math.sqrt(self.variance / 2**32) / self.decisions
