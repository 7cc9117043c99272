"""Kills and faults at random moments: objects are whole, and no upload is left open.

pytest -m slow tests/stores/test_random.py --rounds 30 -s
"""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import sample, tree
from tests.conftest import COMMAND, WORDS, Run
from tests.stores.conftest import Faulty
from tests.stores.proxy import Fault
from tests.stores.server import Store, large

pytestmark = pytest.mark.slow

Say = Callable[[str], None]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    number: int = request.config.getoption("--rounds")
    return number


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print a line that is seen while tests run."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return say


def test_kill_and_resume_many_times(run: Run, store: Store, rounds: int, say: Say) -> None:
    for number in range(40):
        sample(f"in/{number % 3}/{number:03}.{'pt' if number % 2 else 'safetensors'}", number)
    large("in/large.safetensors", 65)
    url = store.put_folder("in")
    assert run("apply", "in", "-o", "whole", *WORDS, "-q").code == 0
    whole = tree("whole")
    numbers = random.Random(rounds)
    duration, kills, left = 6.0, 0, 0
    for number in range(rounds):
        words = [url, "-o", f"{store.url}/out", *WORDS, "-q", "-j", str(1 + number % 2)]
        share = numbers.uniform(0.1, 1)
        while True:
            started = time.monotonic()
            process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE)
            try:
                _, errors = process.communicate(timeout=share * duration)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            kills += 1
            share *= 2  # otherwise the round would not end
            words = words if "--resume" in words else [*words, "--resume"]
        assert process.returncode == 0, errors
        if "--resume" not in words:
            duration = time.monotonic() - started
        assert store.objects("out") == whole
        assert not [key for key in store.all_keys() if "claim" in key]
        left += store.abort_uploads()
        store.delete("out")
    say(f"{rounds:,} rounds, {kills:,} kills, {left:,} uploads left open, no byte lost")
    assert kills > rounds / 3


@pytest.mark.parametrize("mebibytes", [1, 65])
def test_faults_at_random(
    run: Run, store: Store, faulty: Faulty, rounds: int, mebibytes: int, say: Say
) -> None:
    """The old object or the new one, and an error if it is the old one."""
    large("x.safetensors", mebibytes)
    assert run("apply", "x.safetensors", "-o", "new.safetensors", *WORDS, "-q").code == 0
    new = Path("new.safetensors").read_bytes()
    source, old = store.put("x.safetensors", Path("x.safetensors").read_bytes()), b"old"
    numbers = random.Random(rounds)
    share, faults = 0.0, 0

    def at_random(method: str, path: str) -> Fault | None:
        nonlocal faults
        if numbers.random() > share:
            return None
        faults += 1
        before = [
            Fault(503, "<Error><Code>SlowDown</Code></Error>"),
            Fault(500, "<Error><Code>InternalError</Code></Error>"),
            Fault(cut_request=True),
        ]
        later = [Fault(lost=True), Fault(after=numbers.randrange(1 << 20))]
        # If the answer to this request is lost, nobody knows the upload: see the guide.
        begins_upload = method == "POST" and "uploads" in path and "uploadId" not in path
        return numbers.choice(before if begins_upload else before + later)

    faulty(at_random)
    ends: dict[str, int] = {}
    for _ in range(rounds):
        force = numbers.random() < 0.7
        store.delete("y.safetensors")
        if force:
            store.put("y.safetensors", old)
        share = numbers.choice((0.05, 0.2, 0.5))
        words = ("apply", source, "-o", f"{store.url}/y.safetensors", *WORDS, "--json")
        result = run(*words, *(("-f",) if force else ()))
        share = 0
        end = " ".join(result.errors) or "done"
        ends[end] = ends.get(end, 0) + 1
        found = store.get("y.safetensors") if store.keys("y") else None
        assert found == new or (result.code == 1 and found == (old if force else None)), end
        assert len(result.err.splitlines()) <= 2, result.err
        assert not store.uploads(), end
    say(f"{rounds:,} rounds of {mebibytes} MiB, {faults:,} faults: {ends}")
    assert faults
