"""The requested p, and how far the realised rate is from it."""

import math
from typing import NamedTuple

_FAR = 5.0  # standard deviations; 6e-7 of a normal distribution is outside


class RateSummary(NamedTuple):
    """The p of a tensor; if there are several, their mean, minimum and maximum.

    `variance` is that of one decision, the mean of p (1 - p); None if --exact or --min-keep decides
    how many drop. `in_settings` means that the settings alone give this p.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    variance: float | None = None
    in_settings: bool = False

    def sd(self, decisions: int) -> float | None:
        """The standard deviation of the rate; None if the rate is not random."""
        if self.variance is None or not decisions:
            return None
        return math.sqrt(self.variance / decisions)

    def sigma(self, decisions: int, dropped: int) -> float | None:
        """How many standard deviations the rate is from p; None if it cannot differ."""
        sd = self.sd(decisions)
        return (dropped / decisions - self.mean) / sd if sd else None

    def excludes(self, decisions: int, dropped: int) -> bool:
        """Whether the rate is more than 5 standard deviations from p.

        If few decisions drop, a normal distribution is a poor approximation: with p = 1e-6, one of
        1,000 is 31 standard deviations away, but happens to one tensor in 1,000. So the probability
        must be small too, by Chernoff's bound exp(-n D), where D is the relative entropy between
        rate and p. 2 n D corresponds to the square of a normal deviate.
        """
        sigma = self.sigma(decisions, dropped)
        if sigma is None or abs(sigma) <= _FAR:
            return False
        rate = dropped / decisions
        entropy = _entropy(rate, self.mean) + _entropy(1 - rate, 1 - self.mean)
        return 2 * decisions * entropy > _FAR**2


def _entropy(rate: float, p: float) -> float:
    return rate * math.log(rate / p) if rate else 0.0


def combined(several: list[RateSummary]) -> RateSummary | None:
    """The summary of several copies of the same size; None if there are none."""
    if len(several) < 2 or several[0].in_settings:
        return several[0] if several else None
    low = min(one.mean if one.low is None else one.low for one in several)
    high = max(one.mean if one.high is None else one.high for one in several)
    variances = [one.variance for one in several if one.variance is not None]
    variance = math.fsum(variances) / len(several) if len(variances) == len(several) else None
    mean = math.fsum(one.mean for one in several) / len(several)
    return RateSummary(mean, low, high, variance)
