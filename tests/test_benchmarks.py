"""The benchmarks run, and their launcher measures correctly. Speed is not tested."""

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.lines import lines
from tests.benchmarks.measure import HERE, Failed, Measured, Run, launch
from tests.benchmarks.sides import HELP, IMPORT_TYPER, MISSING
from tests.benchmarks.table import Outcome
from tests.benchmarks.work import Faster, Line, Ratio, Times
from tests.conftest import shell

ROOT = Path(__file__).parents[1]
CHOSEN = ["large-cp", "pipe-cat", "small-torch", "workers-large", "memory-1"]


def test_a_quick_run_leaves_a_record() -> None:
    record = Path("record.json").absolute()
    command = f"cd {ROOT}; {sys.executable} -m tests.benchmarks --quick --json {record} "
    done = shell(command + " ".join(CHOSEN))
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text())
    assert {line["name"] for line in found["lines"]} == set(CHOSEN)
    for line in found["lines"]:
        assert line["name"] in done.stdout.decode()
        sides = [line["ours"], line["peer"]] if line["who"] else [line["ours"]]
        assert all(side["seconds"] > 0 and side["peak"] > 1 << 20 for side in sides)
        assert line["who"] is None or line["ratio"] > 0
    assert found["machine"]["cores"] > 0


def test_data_is_made_once_and_outputs_do_not_stay(tmp_path: Path) -> None:
    options = ["--quick", "--data", str(tmp_path / "data"), "elements-numpy"]
    assert main(options) == 0
    (made,) = (tmp_path / "data").iterdir()
    times = made.stat().st_mtime_ns
    assert main(options) == 0
    assert list((tmp_path / "data").iterdir()) == [made]
    assert made.stat().st_mtime_ns == times


def test_check_makes_a_missed_budget_an_exit_code() -> None:
    """On a file this small the start of Python alone takes a hundred times what `cp` takes."""
    assert main(["--quick", "--check", "memory-1"]) == 0
    assert main(["--quick", "--check", "memory-1", "large-cp"]) == 1


@pytest.mark.parametrize("quick", [False, True])
def test_lines_are_whole(quick: bool) -> None:
    table = lines(quick=quick)
    assert len({line.name for line in table}) == len(table)
    peers = [line.peer for line in table if line.peer]
    assert {peer.who for peer in peers} == set(MISSING)
    words = {word for peer in peers for word in peer.words if word.endswith(".py")}
    scripts = {word.removeprefix("{peers}/") for word in words}
    assert scripts == {path.name for path in (HERE / "peers").glob("[!_]*.py")}


def test_the_launcher_counts_the_memory_of_processes_left_behind() -> None:
    """A grandchild that outlives its parent, and then takes memory."""
    code = "import os, time\nif not os.fork(): time.sleep(0.3); bytearray(200 << 20)"
    run = launch([sys.executable, "-c", code])
    assert run.peak > 200 << 20 or sys.platform != "linux"


def test_the_launcher_measures() -> None:
    run = launch([sys.executable, "-c", "import time; bytearray(100 << 20); time.sleep(0.2)"])
    assert 100 << 20 < run.peak < 150 << 20
    assert run.seconds > 0.2


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(Failed, match="no such thing"):
        launch([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


@pytest.mark.parametrize(
    ("ratio", "expected", "met"),
    [
        (Times(2), 1.5, True),
        (Times(1.4), 1.5, False),
        (Faster(0.6), 1 / 1.5, True),
        (Faster(0.7), 1 / 1.5, False),
        (Faster(), 1 / 1.5, True),
    ],
)
def test_budgets(ratio: Ratio, expected: float, met: bool) -> None:
    ours = Measured(HELP, (Run(2.0, 2.0, 50), Run(3.0, 3.0, 60), Run(9.0, 9.0, 70)))
    peer = Measured(IMPORT_TYPER, (Run(2.0, 2.0, 99), Run(1.0, 1.0, 99), Run(7.0, 7.0, 99)))
    line = Line("x", "x", HELP, IMPORT_TYPER, ratio, memory=70)
    assert Outcome(line, ours, peer).ratio == pytest.approx(expected)
    assert Outcome(line, ours, peer).met is met
    less = Line("x", "x", HELP, IMPORT_TYPER, ratio, memory=69)
    assert Outcome(less, ours, peer).met is False
    assert Outcome(less).met is None
