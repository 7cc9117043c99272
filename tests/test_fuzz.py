"""A few of the cases that `python -m tests.fuzz` runs by the million."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import shell
from tests.fuzz import bytewise
from tests.fuzz.cases import Case, draw, make, systematic
from tests.fuzz.judge import Judge
from tests.fuzz.runs import Broken, quick_commands
from tests.fuzz.samples import samples

ROOT = Path(__file__).parents[1]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with quick_commands():
        yield Judge(tmp_path)


def test_single_bytes_lengths_and_extensions(judge: Judge) -> None:
    for number in range(0, systematic(), systematic() // 1000):
        judge.judge(make(1, number))


def test_mutations_that_know_the_structure(judge: Judge) -> None:
    codes = [judge.judge(make(1, systematic() + number)) for number in range(700)]
    assert set(codes) == {0, 1, 4}
    assert judge.tally.differences.total() < 50  # most of what torch refuses is refused


# One folder serves all examples, because each leaves it as it was.
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_mutations_that_hypothesis_draws(judge: Judge, random: Random) -> None:
    judge.judge(draw(random))


def test_all_single_bytes_are_there() -> None:
    data = b"abc"
    made = [bytewise.mutate(number, data) for number in range(bytewise.count(data))]
    assert {b"\x9ebc", b"abb", b"", b"ab", b"abc\0", b"abcabc"} < set(made)
    assert data not in made


def test_a_promise_that_is_broken_is_noticed(judge: Judge) -> None:
    """The judge itself: a sound file that was to be damaged, and one that is not refused."""
    sample = "dropped.safetensors"
    data = samples()[sample]
    assert judge.judge(Case(0, sample, data, "verify")) == 0
    changed = data.replace(b'\\"seed\\":3', b'\\"seed\\":4')
    assert judge.judge(Case(0, sample, changed, "verify")) == 4
    Path("output.safetensors").write_bytes(b"left over")
    with pytest.raises(Broken, match="output"):
        judge.judge(Case(0, sample, data[:-1], "apply"))


def test_a_run_goes_on_where_another_ended() -> None:
    done = Path("done.jsonl").absolute()
    command = f"{sys.executable} -m tests.fuzz --first 990 --cases 20 --jobs 2 --resume {done}"
    assert b"20 cases, none broken" in shell(f"cd {ROOT}; {command}").stdout
    lines = done.read_text().splitlines()
    assert len(lines) == 3  # two blocks, as a thousand ends one
    done.write_text("\n".join([*lines[:2], lines[2][:10]]))  # killed while it wrote
    assert b"20 cases, 10 of them earlier, none broken" in shell(f"cd {ROOT}; {command}").stdout
    assert len(done.read_text().splitlines()) == 3
    other = shell(f"cd {ROOT}; {command} --seed 2")
    assert (other.returncode, b"is of another run" in other.stderr) == (1, True)
    assert len(done.read_text().splitlines()) == 3
