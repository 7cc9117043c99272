"""The results of cases: their totals, and the file of a run that can be continued."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Tally:
    """Counts of exit codes by command and of documented differences; the slowest case."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)  # seconds, and the number of the case
    megabytes: int = 0  # at the peak of one process

    @property
    def cases(self) -> int:
        return self.codes.total()

    def add(self, other: "Tally") -> None:
        self.codes += other.codes
        self.differences += other.differences
        self.slowest = max(self.slowest, other.slowest)
        self.megabytes = max(self.megabytes, other.megabytes)

    def text(self) -> str:
        """A table of a few lines."""
        lines = []
        for command in sorted({command for command, _ in self.codes}):
            counts = [
                f"{n:,} exit {code}" for (c, code), n in sorted(self.codes.items()) if c == command
            ]
            lines.append(f"  {command:8} {', '.join(counts)}")
        for name, count in sorted(self.differences.items()):
            lines.append(f"  accepted where torch refuses, by {name}: {count:,}")
        seconds, number = self.slowest
        lines.append(f"slowest: {1000 * seconds:,.0f} ms, case {number}")
        lines.append(f"peak memory of a process {self.megabytes:,} MB, torch included")
        return "\n".join(lines)


class Log:
    """The blocks of cases that are done, a line each, in a file if there is one.

    The file begins with what must be the same for a run that goes on, or ValueError is raised.
    """

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self.done: dict[tuple[int, int], Tally] = {}
        text = path.read_text() if path and path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line may be incomplete
        if path and whole != text:
            path.write_text(whole)
        self._file = path.open("a", buffering=1) if path else None
        lines = whole.splitlines()
        if not lines:
            self._write(about)
        elif json.loads(lines[0]) != about:
            raise ValueError(f"{path} is of another run: {lines[0]}")
        for line in lines[1:]:
            block = json.loads(line)
            self.done[block["first"], block["end"]] = Tally(
                Counter({(command, code): n for command, code, n in block["codes"]}),
                Counter(block["differences"]),
                (block["slowest"][0], block["slowest"][1]),
                block["megabytes"],
            )

    def add(self, first: int, end: int, tally: Tally) -> None:
        """Record that the cases from `first` to before `end` are done."""
        self.done[first, end] = tally
        codes = [[command, code, n] for (command, code), n in tally.codes.items()]
        rest = {name: getattr(tally, name) for name in ("differences", "slowest", "megabytes")}
        self._write({"first": first, "end": end, "codes": codes, **rest})

    def _write(self, value: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(value) + "\n")
