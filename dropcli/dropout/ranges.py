"""The range of `-p LOW:HIGH`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """The ends from which a probability is drawn uniformly, both in [0, 1], the lower one first."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"
