"""`kill -9` at any moment, then --resume: the result has the bytes of an uninterrupted run.

A long loop: `pytest -m slow tests/test_kill.py --rounds 1000 -s`. Its runs are copies of a process
that has loaded the command, so that they are killed at work, and not while Python starts.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from tests.builders import journal, numbered_legacy, sample, tree
from tests.conftest import COMMAND, WORDS, wait_for


def left(at: float | None) -> float | None:
    """Seconds until a time."""
    return None if at is None else max(0.0, at - time.monotonic())


class Command:
    """A run of the command."""

    def __init__(self, words: list[str], **variables: str) -> None:
        environment = {**os.environ, **variables}
        command = [*COMMAND, *words]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)

    def is_killed(self, at: float | None = None) -> bool:
        """Wait until that time, if any, and kill the run; False if it ended before."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(left(at))
        self._process.kill()
        _, errors = self._process.communicate()
        assert self._process.returncode in (0, -signal.SIGKILL), errors
        return self._process.returncode != 0


class Copy:
    """A run that is a fork of a process that has loaded the command."""

    servers: ClassVar[list[subprocess.Popen[bytes]]] = []  # servers that no run is using

    def __init__(self, words: list[str], **variables: str) -> None:
        self._server = self.servers.pop() if self.servers else _serve()
        self._errors = os.path.abspath(f"{self._server.pid}.errors")
        asked = {"words": ["apply", *words], "errors": self._errors, "variables": variables}
        assert self._server.stdin
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._pid = self._answer()

    def is_killed(self, at: float | None = None) -> bool:
        """Wait until that time, if any, and kill the run; False if it ended before."""
        assert self._server.stdout
        if not select.select([self._server.stdout], [], [], left(at))[0]:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        code = self._answer()
        self.servers.append(self._server)
        assert code in (0, -signal.SIGKILL), Path(self._errors).read_text()
        return code != 0

    def _answer(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())


@pytest.fixture
def copies() -> Iterator[type[Copy]]:
    yield Copy
    while Copy.servers:
        Copy.servers.pop().communicate()


def _serve() -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "tests.copies"]
    return subprocess.Popen(command, bufsize=0, stdin=-1, stdout=-1, env=environment)


class Loop:
    """Runs over small files that are killed and resumed, each at another moment of its time."""

    def __init__(self, files: int, start: type[Command] | type[Copy]) -> None:
        for number in range(files):
            path = f"data/{number % 7}/{number:03}.{'pt' if number % 3 else 'safetensors'}"
            x = sample(path, number)
            if number % 3 == 2:
                Path(path).write_bytes(numbered_legacy({"x": x, "label": number}))
        self._start = start
        assert not start(["data", "-o", "first", *WORDS, "-q"]).is_killed()
        started = time.monotonic()
        assert not start(["data", "-o", "whole", *WORDS, "-q"]).is_killed()
        self._duration = time.monotonic() - started
        self.whole = outputs("whole")
        self.kills = 0
        self._numbers = random.Random(0)

    def round(self, *runs: list[str]) -> None:
        """Kill runs that run at the same time, and the runs that resume them, until each has ended.

        The kernel in C and numpy are used at random, also when a run is resumed.
        """
        left, more, tries = [*runs], ["-q"], 0
        while left:
            kernels = self._numbers.choices(["", "numpy"], k=len(left))
            started = [
                self._start([*words, *WORDS, *more], DROPCLI_KERNEL=kernel)
                for words, kernel in zip(left, kernels, strict=True)
            ]
            # Later each time, otherwise the round would not end.
            share = self._numbers.uniform(0.1, 1) + tries / 2
            at = time.monotonic() + share * self._duration
            killed = [run.is_killed(at) for run in started]
            left = [words for words, again in zip(left, killed, strict=True) if again]
            self.kills += len(left)
            self._duration *= 1.03 if left else 0.9  # for the present load of the machine
            more, tries = ["-q", "--resume"], tries + 1

    def finished(self) -> None:
        """Compare the outputs with those of an uninterrupted run."""
        # Orphans of a killed run need some time to end.
        assert wait_for(lambda: outputs("out") == self.whole)
        lines = (line for path in Path("out").glob("*.jsonl") for line in journal("out", path.name))
        assert {line["output"] for line in lines if "output" in line} == set(self.whole)


def outputs(folder: str) -> dict[str, bytes]:
    """All files below a folder, without journals."""
    return {name: data for name, data in tree(folder).items() if not name.endswith(".jsonl")}


def kill_and_resume(files: int, rounds: int, start: type[Command] | type[Copy] = Command) -> Loop:
    loop = Loop(files, start)
    words = ["data", "-o", "out", "-j"]
    for number in range(rounds):
        shutil.rmtree("out", ignore_errors=True)
        if number % 3 < 2:
            loop.round([*words, str(1 + number % 3)])
        else:
            loop.round(*([*words, "1", "--shard", f"{shard}/2"] for shard in (1, 2)))
            loop.round([*words, "2", "--resume"])  # gathers them
        loop.finished()
    return loop


def test_kill_and_resume() -> None:
    assert kill_and_resume(80, 3).kills > 0


@pytest.mark.slow
def test_kill_and_resume_many_times(
    request: pytest.FixtureRequest, copies: type[Copy], capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: int = request.config.getoption("--rounds")
    started = time.monotonic()
    loop = kill_and_resume(40, rounds, copies)
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(f"\n{rounds:,} rounds, {loop.kills:,} kills, {seconds:,.0f} seconds, no byte lost")
    assert loop.kills > rounds / 3


def test_kill_and_resume_in_place() -> None:
    loop = Loop(80, Command)
    for _ in range(2):
        shutil.rmtree("copy", ignore_errors=True)
        shutil.copytree("data", "copy")
        loop.round(["copy", "--in-place", "-j", "2"])
        assert wait_for(lambda: tree("copy") == loop.whole)
    assert loop.kills > 0
    assert not Path("copy/dropcli-in-place.jsonl").exists()
