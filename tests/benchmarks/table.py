"""The measurements as a table to read, and as a record for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table

from tests.benchmarks.measure import Measured
from tests.benchmarks.sides import MISSING
from tests.benchmarks.work import Line

_WIDTH = 160  # where there is no terminal
_LEFT = ("line", "work", "peer")


@dataclass(frozen=True)
class Outcome:
    """A line with its times, or with the reason why it has none."""

    line: Line
    ours: Measured | None = None
    peer: Measured | None = None
    problem: str = ""

    @property
    def ratio(self) -> float | None:
        if self.ours is None or self.peer is None:
            return None
        return self.line.ratio.of(self.ours.per_unit, self.peer.per_unit)

    @property
    def met(self) -> bool | None:
        """Whether the budgets of time and memory are met; None if there are none."""
        checks = []
        if self.ratio is not None and self.line.ratio.budget is not None:
            checks.append(self.line.ratio.met(self.ratio))
        if self.ours is not None and self.line.memory is not None:
            checks.append(self.ours.peak <= self.line.memory)
        return all(checks) if checks else None

    @property
    def record(self) -> dict[str, Any]:
        """All measurements, with times in seconds and memory in bytes."""
        ratio = self.line.ratio
        return {
            "name": self.line.name,
            "work": self.line.work,
            "problem": self.problem or None,
            "ours": _record(self.ours),
            "peer": _record(self.peer),
            "who": self.line.peer and self.line.peer.who,
            "ratio": self.ratio,
            "ratio_of": f"{type(ratio).__name__.lower()}",
            "budget": ratio.budget,
            "mark": ratio.mark,
            "memory_budget": self.line.memory,
            "met": self.met,
        }

    @property
    def row(self) -> dict[str, str]:
        """The cells of the table, by their columns."""
        line, ours, peer = self.line, self.ours, self.peer
        sides = [side for side in (ours, peer) if side]
        return {
            "line": line.name,
            "work": line.work,
            "ours, s": _seconds(ours) if ours else self.problem,
            "peer": line.peer.who if line.peer else "",
            "peer, s": _seconds(peer) if peer else "",
            "ratio": "" if self.ratio is None else f"{self.ratio:.2f}",
            "budget": self._budgets,
            "met": {True: "yes", False: "NO", None: ""}[self.met],
            "cpu, s": " / ".join(f"{side.cpu:.2f}" for side in sides),
            "peak MB": " / ".join(f"{side.peak / 1e6:,.0f}" for side in sides),
        }

    @property
    def _budgets(self) -> str:
        ratio, memory = self.line.ratio, self.line.memory
        time = [f"{ratio.sign} {ratio.budget:g}"] if ratio.budget else []
        return ", ".join(time + ([f"{memory / 1e6:.0f} MB"] if memory else []))


def show(outcomes: Sequence[Outcome], about: str) -> None:
    """Print the table, and below it the meaning of the numbers."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(box=None, header_style="bold")
    for column in outcomes[0].row if outcomes else ():
        justify: JustifyMethod = "left" if column in _LEFT else "right"
        table.add_column(column, justify=justify, no_wrap=column != "work")
    for outcome in outcomes:
        table.add_row(*outcome.row.values())
    console.print(table)
    print(_NOTES)
    shown = {outcome.line.peer.who for outcome in outcomes if outcome.line.peer}
    print("\nWhat the peers leave out:")
    for who, what in MISSING.items():
        if who in shown:
            print(f"  {who}: {what}")
    print(f"\n{about}")


_NOTES = """
Times are medians (fastest..slowest) of whole commands, run in turn. A budget with ≤ is of ours
divided by the peer's time, one with ≥ of the peer's divided by ours; of memory it is for us.
Ours / the peer's: cpu is of all processes, and what a time has beyond it was spent waiting, most
of it for the disk; peak MB is of the largest process, mapped files included."""


def _seconds(measured: Measured) -> str:
    fastest, slowest = measured.spread
    return f"{measured.seconds:.2f} ({fastest:.2f}..{slowest:.2f})"


def _record(measured: Measured | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    return {
        "who": measured.side.who,
        "words": measured.side.words,
        "units": measured.side.units,
        "seconds": measured.seconds,
        "peak": measured.peak,
        "runs": [asdict(run) for run in measured.runs],
    }
