"""`kill -9` at any moment, and --resume: in the end the bytes of an uninterrupted run.

A long loop: `pytest -m slow tests/test_kill.py --rounds 1000 -s`.
"""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.builders import journal, sample, tree
from tests.conftest import COMMAND, WORDS, shell, wait_for


class Loop:
    """Runs over small files that are killed and resumed, each at another moment of its time."""

    def __init__(self, files: int) -> None:
        for number in range(files):
            suffix = "pt" if number % 3 else "safetensors"
            sample(f"data/{number % 7}/{number:03}.{suffix}", number)
        started = time.monotonic()
        assert shell(f"dropcli apply data -o whole {' '.join(WORDS)} -q").returncode == 0
        self.duration = time.monotonic() - started
        self.whole = tree("whole")
        self.kills = 0
        self._numbers = random.Random(0)

    def round(self, *words: str) -> None:
        """Kill a run, and those that resume it, until one is quicker."""
        before = self.kills
        command = [*words, *WORDS, "-q"]
        # Later each time, or the round would have no end.
        while self._killed(command, self._numbers.uniform(0.2, 0.9) + (self.kills - before) / 2):
            self.kills += 1
            command = command if "--resume" in command else [*command, "--resume"]
        if self.kills == before:  # the machine is quicker than it was
            self.duration *= 0.7

    def _killed(self, words: list[str], share: float) -> bool:
        """Run a command and kill it after that share of its time, unless it was quicker."""
        process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE)
        try:
            process.wait(share * self.duration)
        except subprocess.TimeoutExpired:
            process.kill()
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors
        return process.returncode != 0


def kill_and_resume(files: int, rounds: int) -> Loop:
    loop = Loop(files)
    for number in range(rounds):
        shutil.rmtree("out", ignore_errors=True)
        loop.round("data", "-o", "out", "-j", str(1 + number % 2))
        # Orphans of a killed run take a moment to end.
        assert wait_for(lambda: tree("out") == loop.whole)
        assert {line["output"] for line in journal()} == set(loop.whole)
    return loop


def test_kill_and_resume() -> None:
    assert kill_and_resume(80, 3).kills > 0


@pytest.mark.slow
def test_kill_and_resume_many_times(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: int = request.config.getoption("--rounds")
    started = time.monotonic()
    loop = kill_and_resume(40, rounds)
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(f"\n{rounds:,} rounds, {loop.kills:,} kills, {seconds:,.0f} seconds, no byte lost")
    assert loop.kills > rounds / 3


def test_kill_and_resume_in_place() -> None:
    loop = Loop(80)
    for _ in range(2):
        shutil.rmtree("copy", ignore_errors=True)
        shutil.copytree("data", "copy")
        loop.round("copy", "--in-place", "-j", "2")
        assert wait_for(lambda: tree("copy") == loop.whole)
    assert loop.kills > 0
    assert not Path("copy/dropcli-in-place.jsonl").exists()
