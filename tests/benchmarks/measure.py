"""Run two commands in turn, so that other load on the machine affects both."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

from tests.benchmarks.data import NOTHING, Store, remove, total_bytes
from tests.benchmarks.work import Side

HERE = Path(__file__).parent
_LAUNCH = (sys.executable, "-I", "-S", str(HERE / "launch.py"))


class Failed(Exception):
    """A command failed, so there is nothing to compare."""


@dataclass(frozen=True)
class Run:
    """One run of a command: wall clock and processor seconds, and the peak memory in bytes of
    the largest of its processes (resident pages, those of mapped files among them)."""

    seconds: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Measured:
    """All runs of one side, without the warm-up."""

    side: Side
    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs)

    @property
    def per_unit(self) -> float:
        return self.seconds / self.side.units

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)

    @property
    def peak(self) -> int:
        return max(run.peak for run in self.runs)


def alternate(
    sides: list[Side], store: Store, rounds: int, *, warm: bool, say: Callable[[str], None]
) -> list[Measured]:
    """Run each side once in each round; with `warm`, after a round that is not counted."""
    for side in sides:  # all data before the first run
        store.get(side.data)
    counted: list[list[Run]] = [[] for _ in sides]
    try:
        _alternate(sides, store, counted, rounds, warm=warm, say=say)
    finally:
        store.clear()
    return [Measured(side, tuple(runs)) for side, runs in zip(sides, counted, strict=True)]


def _alternate(
    sides: list[Side],
    store: Store,
    counted: list[list[Run]],
    rounds: int,
    *,
    warm: bool,
    say: Callable[[str], None],
) -> None:
    for number in range(0 if warm else 1, rounds + 1):
        for side, runs in zip(sides, counted, strict=True):
            say(f"{side.who}, {f'round {number} of {rounds}' if number else 'warm-up'}")
            run = _run(side, store, settle=warm)
            if number:
                runs.append(run)


def _run(side: Side, store: Store, *, settle: bool) -> Run:
    """Run once, without an old output; with `settle`, wait until earlier outputs are synced."""
    source = store.get(side.data)
    output = store.output(source)
    names = {"data": source, "out": output, "peers": HERE / "peers"}
    if settle:
        os.sync()
    run = launch([word.format(**names) for word in side.words])
    if side.timed:
        run = replace(run, seconds=float(output.read_text()))
        remove(output)
    elif side.data != NOTHING and "{out}" in side.words:
        if total_bytes(output) < 0.9 * total_bytes(source):
            raise Failed(f"{side.who}: wrote less than it read")
        if output.is_file():
            remove(output)
    return run


def launch(command: list[str]) -> Run:
    """Run a command through the launcher, with our scripts first on the path."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join((scripts, os.environ["PATH"]))}
    done = subprocess.run([*_LAUNCH, *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise Failed(done.stderr)
    result = json.loads(done.stdout)
    if result["code"]:
        raise Failed(f"{command} ended with {result['code']}:\n{done.stderr}")
    return Run(result["seconds"], result["cpu"], result["peak"])


def resolve(side: Side, pythons: tuple[str, ...]) -> Side | None:
    """The side with the first interpreter that has the module it needs; None if none has."""
    for python in pythons:
        if not side.needs or _imports(python, side.needs):
            return replace(side, words=tuple(w.replace("{python}", python) for w in side.words))
    return None


@cache
def _imports(python: str, module: str) -> bool:
    """Whether this Python can import the module."""
    command = [python, "-c", f"import {module}"]
    return not subprocess.run(command, capture_output=True).returncode
