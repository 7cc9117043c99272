"""The lines of the table: our command, a peer's, and a budget for their times."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tests.benchmarks.data import NOTHING, Recipe


@dataclass(frozen=True)
class Ratio(ABC):
    """A comparison of two times; `budget` must be reached, `mark` is the next goal."""

    budget: float | None = None
    mark: float | None = None

    @abstractmethod
    def of(self, ours: float, peer: float) -> float:
        """The ratio of two times."""

    @abstractmethod
    def met(self, ratio: float) -> bool:
        """Whether it is within the budget."""

    @property
    @abstractmethod
    def sign(self) -> str:
        """The sign between a ratio and its budget."""


class Times(Ratio):
    """At most this many times the time of the peer."""

    sign = "≤"

    def of(self, ours: float, peer: float) -> float:
        return ours / peer

    def met(self, ratio: float) -> bool:
        return self.budget is None or ratio <= self.budget


class Faster(Ratio):
    """At least this many times faster than the peer."""

    sign = "≥"

    def of(self, ours: float, peer: float) -> float:
        return peer / ours

    def met(self, ratio: float) -> bool:
        return self.budget is None or ratio >= self.budget


FASTER = Faster()


@dataclass(frozen=True)
class Side:
    """A command on some data. In its words `{data}` and `{out}` are paths.

    Times are divided by `units`, where two sides have not the same amount of work; `needs` is a
    module that `{python}` must be able to import; `timed`: it writes its own seconds to `{out}`,
    without those of its start.
    """

    who: str
    words: tuple[str, ...]
    data: Recipe = NOTHING
    units: int = 1
    needs: str = ""
    timed: bool = False


@dataclass(frozen=True)
class Line:
    """One line of the table: some work, done by us and perhaps by a peer.

    `memory` is a budget in bytes. `once`: measured one time, because only memory matters;
    `long`: left out unless it is named.
    """

    name: str
    work: str
    ours: Side
    peer: Side | None = None
    ratio: Ratio = FASTER
    memory: int | None = 100_000_000
    once: bool = False
    long: bool = False
