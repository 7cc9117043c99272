"""Workers and signals: if a worker dies or a run is interrupted, finished work is kept."""

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.builders import journal, sample, tree
from tests.conftest import COMMAND, SETTINGS, WORDS, Run, held_at, shell, wait_for

LAST = "data/29.safetensors"  # of `large_files`


@pytest.fixture
def large_files() -> None:
    """30 files of 4 MiB."""
    Path("data").mkdir()
    for index in range(30):
        save_file({"x": torch.rand(1 << 20)}, f"data/{index:02}.safetensors")


def start(*words: str) -> "subprocess.Popen[bytes]":
    """A run in a session of its own that waits at the last file until `go` is there."""
    environment = {**os.environ, **held_at(LAST)}
    command = [*COMMAND, *words]
    return subprocess.Popen(command, stdout=-1, stderr=-1, env=environment, start_new_session=True)


def some_are_done() -> bool:
    return len(list(Path("out").glob("*.safetensors"))) > 2


@pytest.fixture
def many() -> dict[str, bytes]:
    """200 small files; returns the outputs of an uninterrupted run."""
    for number in range(200):
        sample(f"data/{number % 7}/{number:03}.{'pt' if number % 3 else 'safetensors'}", number)
    assert shell("dropcli apply data -o whole -p 0.3 --seed 7 -q").returncode == 0
    return tree("whole")


def test_e03_nohup_is_respected(large_files: None) -> None:
    command = " ".join([*COMMAND, "data", "-o", "out", "-q", *WORDS])
    until = "until [ -e out/00.safetensors ]; do sleep 0.05; done"
    done = shell(f"nohup {command} & {until}; kill -HUP $!; touch go; wait $!", **held_at(LAST))
    assert done.returncode == 0
    assert len(tree("out")) == 30


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_e02_e03_a_signal_ends_the_run_and_says_how_to_resume(
    large_files: None, number: int, jobs: int
) -> None:
    words = ["data", "-o", "out", *WORDS, "-j", str(jobs)]
    for _ in range(2):
        shutil.rmtree("out", ignore_errors=True)
        # A terminal sends Ctrl-C to the workers too.
        process = start(*words)
        assert wait_for(some_are_done)
        os.killpg(process.pid, number)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert out == b""
        done = len(journal())
        assert 2 <= done <= len(tree("out")) < 30
        assert {str(line["output"]) for line in journal()} <= set(tree("out"))
        *progress, message, hint = errors.decode().splitlines()
        assert all(" of 30 files" in line for line in progress)  # on a slow machine
        assert message == (
            f"interrupted; nothing half-written is left; {done} of 30 files are done"
        )
        assert hint == f"hint: continue with: dropcli apply --resume {' '.join(words)}"
    resumed = shell(hint.removeprefix("hint: continue with: ") + " --json")
    assert resumed.returncode == 0
    statuses = [file["status"] for file in json.loads(resumed.stdout)["files"]]
    assert statuses.count("skipped") == done


def workers(pid: int) -> list[int]:
    """The worker processes of a run, which are its children."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    return sorted(child for child, parent in parents.items() if parent == pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_e04_a_killed_worker_is_replaced(many: dict[str, bytes], number: int) -> None:
    for index in range(200, 1500):
        shutil.copy("data/0/000.safetensors", f"data/{index}.safetensors")
    words = ["data", "-o", "out", *WORDS, "-q", "-j", "2"]
    environment = {**os.environ, **held_at("data/1499.safetensors")}
    process = subprocess.Popen([*COMMAND, *words], stderr=-1, env=environment)
    assert wait_for(lambda: len(tree("out")) > 20)
    os.kill(workers(process.pid)[-1], number)
    Path("go").touch()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    whole = tree("out")
    assert len(whole) == 1500
    assert {name: whole[name] for name in many} == many
    assert not any(name.endswith(".tmp") for name in whole)


def test_a_worker_that_does_not_answer_does_not_delay_ctrl_c(large_files: None) -> None:
    process = start("data", "-o", "out", *WORDS, "-j", "2")
    assert wait_for(some_are_done)
    stopped = workers(process.pid)[-1]
    os.kill(stopped, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in errors) == (130, False), errors.decode()
    assert not any(name.endswith(".tmp") for name in tree("out"))


def test_e04_a_file_that_kills_its_worker_is_found_out(run: Run) -> None:
    for number in range(6):
        sample(f"data/{number}.pt", number)
    Path("sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def kill(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('data/3.pt'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.register_at_fork(after_in_child=lambda: sys.addaudithook(kill))\n"
    )
    done = shell("dropcli apply data -o out -p 0.3 --seed 7 --json -j 2", PYTHONPATH=os.getcwd())
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert [(error["source"], error["code"]) for error in document["errors"]] == [
        ("data/3.pt", "worker-died")
    ]
    run("apply", "data", "-o", "whole", *SETTINGS, "-j", 1)
    whole = tree("whole")
    assert tree("out") == {name: whole[name] for name in whole if name != "3.pt"}


def test_the_same_for_any_number_of_workers(run: Run, many: dict[str, bytes]) -> None:
    Path("data/0/damaged.pt").write_bytes(b"no")
    results = []
    for jobs in (1, 2, 3):
        folder = f"out{jobs}"
        words = ("apply", "data", "-o", folder, *SETTINGS, "-j", jobs, "--stats", f"{jobs}.csv")
        result = run(*words, "-v")
        assert (result.code, tree(folder)) == (3, many)
        text = Path(f"{jobs}.csv").read_text()
        results.append((result.out.replace(folder, "out"), text.replace(folder, "out")))
    assert results[0] == results[1] == results[2]


def test_orphans_do_not_hold_the_journal(large_files: None) -> None:
    """Workers of a killed run end soon, and a run that resumes it need not wait for them."""
    words = ["data", "-o", "out", *WORDS, "-j", "2"]
    with start(*words) as process:
        assert wait_for(some_are_done)
        orphans = workers(process.pid)
        assert len(orphans) == 2
        os.kill(orphans[0], signal.SIGSTOP)
        process.kill()
    assert shell(f"dropcli apply --resume {' '.join(words)} -q").returncode == 0
    os.kill(orphans[0], signal.SIGCONT)
    assert wait_for(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))
    assert not any(name.endswith(".tmp") for name in tree("out"))
