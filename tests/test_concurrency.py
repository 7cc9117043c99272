"""Concurrency: runs with the same output, and sources that change during a run."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import journal, sample, sparse, tree
from tests.conftest import COMMAND, SETTINGS, Run, codes, shell

SEEDS = range(4)


def start(*words: object, **variables: str) -> "subprocess.Popen[bytes]":
    command = [*COMMAND, *map(str, words)]
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, stdout=-1, stderr=-1, env=environment)


def finish(processes: "list[subprocess.Popen[bytes]]") -> list[tuple[int, str]]:
    """The exit code and the errors of each."""
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


@pytest.fixture
def whole(run: Run) -> list[bytes]:
    """An input, and its output with each seed."""
    save_file({"x": torch.rand(1 << 20)}, "x.safetensors")
    for seed in SEEDS:
        run("apply", "x.safetensors", "-o", f"{seed}.whole", "--seed", seed, "-q")
    return [Path(f"{seed}.whole").read_bytes() for seed in SEEDS]


def test_one_of_several_runs_gets_a_new_name(whole: list[bytes]) -> None:
    for _ in range(2):
        words = ("x.safetensors", "-o", "y.safetensors", "-q", "--seed")
        results = finish([start(*words, seed) for seed in SEEDS])
        winners = [seed for seed, (code, _) in zip(SEEDS, results, strict=True) if code == 0]
        assert len(winners) == 1
        for code, error in results:
            assert code == 0 or re.match(r"error: y\.safetensors: .*\nhint: .*--force", error)
        assert Path("y.safetensors").read_bytes() == whole[winners[0]]
        assert not list(Path().glob(".*"))
        os.unlink("y.safetensors")


def test_runs_that_replace_leave_the_whole_file_of_one(whole: list[bytes]) -> None:
    Path("y.safetensors").write_text("old")
    words = ("x.safetensors", "-o", "y.safetensors", "-fq", "--seed")
    processes = [start(*words, seed) for seed in SEEDS]
    while any(process.poll() is None for process in processes):
        assert Path("y.safetensors").read_bytes() in (b"old", *whole)  # at every moment
    assert finish(processes) == [(0, "")] * len(SEEDS)
    assert Path("y.safetensors").read_bytes() in whole
    assert not list(Path().glob(".*"))


def test_runs_in_place_leave_a_whole_file(whole: list[bytes]) -> None:
    results = finish([start("x.safetensors", "--in-place", "-q", "--seed", seed) for seed in SEEDS])
    assert {code for code, _ in results} == {0}
    assert load_file("x.safetensors")["x"].shape == (1 << 20,)
    assert shell("dropcli info x.safetensors").returncode == 0
    assert not list(Path().glob(".*"))


def stopped_at_work(*words: object) -> "subprocess.Popen[bytes]":
    """A run that is stopped while it writes."""
    process = start(*words)
    while not list(Path().glob(".*.tmp")):
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    return process


COUNT = 60_000_000


def truncate() -> None:
    os.truncate("x.safetensors", 1000)


def append() -> None:
    with open("x.safetensors", "ab") as file:
        file.write(b"more")


def write_within() -> None:
    with open("x.safetensors", "r+b") as file:
        file.seek(4 * COUNT)
        file.write(b"other")


@pytest.mark.parametrize(
    ("change", "output"), [(truncate, "old"), (append, "new"), (write_within, "in place")]
)
def test_a_source_that_changes_during_a_run_is_an_error(
    change: Callable[[], None], output: str
) -> None:
    header = '{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (COUNT, 4 * COUNT), 4 * COUNT)
    if output == "old":
        Path("y.safetensors").write_text("precious")
    words = ["--in-place"] if output == "in place" else ["-o", "y.safetensors"]
    process = stopped_at_work("x.safetensors", *words, "-fq", "--no-provenance")
    change()
    after = os.stat("x.safetensors")
    process.send_signal(signal.SIGCONT)
    ((code, error),) = finish([process])
    assert code == 1
    assert error.startswith("error: x.safetensors: ")
    assert len(error.splitlines()) == 2  # with a hint
    assert os.path.samestat(os.stat("x.safetensors"), after)
    assert set(os.listdir()) == {"x.safetensors", *(["y.safetensors"] if output == "old" else [])}
    assert output != "old" or Path("y.safetensors").read_text() == "precious"


def replace_source() -> None:
    Path("new").write_text("another file")
    os.replace("new", "x.safetensors")


def remove_source() -> None:
    os.unlink("x.safetensors")


@pytest.mark.parametrize("change", [replace_source, remove_source])
def test_a_source_that_is_replaced_during_a_run_is_read_to_its_end(
    change: Callable[[], None],
) -> None:
    count = 1 << 25
    save_file({"x": torch.ones(count)}, "x.safetensors")
    process = stopped_at_work("x.safetensors", "-o", "y.safetensors", "-q", "-p", 1)
    change()
    process.send_signal(signal.SIGCONT)
    assert finish([process]) == [(0, "")]
    after = load_file("y.safetensors")["x"]
    assert after.shape == (count,)
    assert not after.any()


def test_a_slow_pipe_is_read_and_a_truncated_one_is_an_error(whole: list[bytes]) -> None:
    slow = "(head -c 100 x.safetensors; sleep 0.3; tail -c +101 x.safetensors)"
    done = shell(f"{slow} | dropcli apply - -o y.safetensors --seed 2 --stream x -q")
    assert (done.returncode, Path("y.safetensors").read_bytes()) == (0, whole[2])
    os.mkfifo("pipe")
    done = shell(
        "(head -c 2000000 x.safetensors; sleep 0.2) > pipe & dropcli apply pipe -o z.pt --json"
    )
    assert (done.returncode, codes(done.stdout)) == (1, ["truncated-data"])
    assert done.stderr.startswith(b"error: pipe: ")
    assert not os.path.exists("z")


@pytest.fixture
def many(run: Run) -> dict[int, dict[str, bytes]]:
    """A dataset, and its outputs with two seeds."""
    for number in range(40):
        sample(f"data/{number % 3}/{number:02}.{'pt' if number % 2 else 'safetensors'}", number)
    for seed in (7, 8):
        run("apply", "data", "-o", f"whole{seed}", "-p", 0.3, "--seed", seed, "-q", "-j", 1)
    return {seed: tree(f"whole{seed}") for seed in (7, 8)}


@pytest.mark.parametrize("words", [(), ("--force",), ("--resume",)], ids=str)
def test_one_of_two_runs_on_one_folder_is_done(
    many: dict[int, dict[str, bytes]], words: tuple[str, ...]
) -> None:
    for _ in range(2):
        shutil.rmtree("out", ignore_errors=True)
        results = finish(
            [start("data", "-o", "out", "-p", 0.3, "--seed", seed, "-q", *words) for seed in many]
        )
        done = [seed for seed, (code, _) in zip(many, results, strict=True) if code == 0]
        assert done
        # The second run found the first one active or, later, its outputs.
        assert {code for code, _ in results} <= {0, 1, 2}
        assert tree("out") in ([many[seed] for seed in done])
        assert len(journal()) == len(tree("out")) == 40
        assert not list(Path("out").rglob(".*"))


@pytest.mark.parametrize("words", [(), ("--resume",)], ids=str)
def test_f13_two_runs_where_locks_do_nothing_make_the_same_files(
    many: dict[int, dict[str, bytes]], words: tuple[str, ...]
) -> None:
    Path("sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda *_: None\n")
    variables = {"PYTHONPATH": os.getcwd()}
    command = ("data", "-o", "out", *SETTINGS, "-q", *words)
    results = finish([start(*command, **variables) for _ in range(2)])
    assert {code for code, _ in results} <= {0, 1, 3}
    assert tree("out") == many[7]
    done = shell("dropcli apply data -o out -p 0.3 --seed 7 -q --resume")
    assert (done.returncode, tree("out")) == (0, many[7]), done.stderr


@pytest.mark.parametrize("kept", [True, False], ids=["a journal", "none"])
def test_a_delayed_run_keeps_the_journal_of_another(
    run: Run, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Another run begins and ends between the plan and the lock of a run."""
    for number in range(3):
        sample(f"data/{number}.pt", number)
    flock = fcntl.flock
    others: list[None] = []

    def be_overtaken(fd: int, how: int) -> None:
        if not others:
            others.append(None)
            if kept:
                shell("dropcli apply data -o out -p 0.3 --seed 8 -q")
            else:  # it recorded nothing, and removed its journal
                os.unlink("out/dropcli.jsonl")
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", be_overtaken)
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.errors) == (1, ["in-use"])
    assert result.err.startswith("error: out/dropcli.jsonl: ")
    assert len(tree("out")) == (3 if kept else 0)
    if kept:
        assert len(journal()) == 3
