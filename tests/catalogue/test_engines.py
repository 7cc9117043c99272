"""Bad-input cases E01 to E17: the environment, and many files at once."""

import hashlib
import importlib
import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run, codes, shell

COMMAND = "dropcli apply data -o out -p 0.3 --seed 7"


@pytest.fixture
def data(run: Run) -> dict[str, bytes]:
    """Three files; returns their outputs."""
    for number in range(3):
        sample(f"data/{number}.safetensors", number)
    assert run("apply", "data", "-o", "whole", *SETTINGS, "-j", 1, "-q").code == 0
    return tree("whole")


def test_e05_little_memory(data: dict[str, bytes]) -> None:
    done = shell(f"ulimit -v 300000; {COMMAND} -q -j 1")
    assert (done.returncode, done.stderr, tree("out")) == (0, b"", data)


def test_e05_no_more_workers_than_cores_of_the_process() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "from dropcli.parallel import usable_cores; print(usable_cores())"
    assert shell(f"{sys.executable} -c {shlex.quote(code)}").stdout == b"1\n"


@pytest.mark.parametrize("jobs", [(), ("-j", 1)])
def test_e05_too_little_memory_is_one_line(
    data: dict[str, bytes], run: Run, monkeypatch: pytest.MonkeyPatch, jobs: tuple[object, ...]
) -> None:
    def exhaust(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(os, "preadv", exhaust)
    result = run("apply", "data", "-o", "out", "--json", *jobs)
    assert (result.code, result.errors) == (1, ["out-of-memory"] * 3)
    result = run("apply", "data/0.safetensors", "-o", "y.safetensors", "--json")
    assert (result.code, result.errors) == (1, ["out-of-memory"])
    assert not tree("out")


def test_e08_the_same_bytes_whatever_the_environment(data: dict[str, bytes]) -> None:
    for number, variables in enumerate(
        (
            {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
            {"PYTHONOPTIMIZE": "2", "PYTHONUTF8": "0", "LANG": "xx_YY"},
        )
    ):
        done = shell(f"{COMMAND.replace('out', f'out{number}')} -q -j 2", **variables)
        assert (done.returncode, done.stderr) == (0, b"")
        assert tree(f"out{number}") == data


def test_e09_no_home_and_no_folder_for_temporary_files(data: dict[str, bytes]) -> None:
    done = shell(
        f"unset HOME XDG_CACHE_HOME XDG_CONFIG_HOME; export TMPDIR=/none; {COMMAND} -j 2 -q"
    )
    assert (done.returncode, done.stderr, tree("out")) == (0, b"", data)
    piped = "cat data/0.safetensors | TMPDIR=/none HOME=/none dropcli apply - -o - -q -p .3"
    done = shell(f"{piped} --seed 7 --stream 0 | cat")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data["0.safetensors"]).digest()


def test_modules_that_workers_load_early_are_there(
    data: dict[str, bytes], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python ignores names of missing modules: workers would only start more slowly."""
    names: list[str] = []
    monkeypatch.setattr(forkserver, "set_forkserver_preload", names.extend)
    with ThreadPoolExecutor() as pool:  # a process with threads is not forked
        pool.submit(int)
        assert run("apply", "data", "-o", "out", *SETTINGS, "-j", 2, "-q").code == 0
        assert run("verify", "out", "--source", "data", "-j", 2, "-q").code == 0
    assert len(names) == 2
    for name in names:
        importlib.import_module(name)


SHADOWS = (
    *("json", "struct", "selectors", "torch", "numpy", "socket", "signal", "threading"),
    *("multiprocessing", "dropcli", "typing", "pickle", "random", "isal", "tempfile"),
)


@pytest.mark.parametrize("jobs", [1, 2])
def test_e10_modules_in_the_current_folder_are_not_imported(
    data: dict[str, bytes], jobs: int
) -> None:
    for name in SHADOWS:
        Path(f"{name}.py").write_text(f"open('harmed', 'a').write({name!r})\nraise SystemExit(9)\n")
    done = shell(f"{COMMAND} -q -j {jobs}", PYTHONSAFEPATH="")
    assert not Path("harmed").exists()
    assert (done.returncode, done.stderr, tree("out")) == (0, b"", data)


def test_e11_nothing_in_the_folder_is_a_configuration(data: dict[str, bytes]) -> None:
    hook = """
import sys
def audit(event, arguments):
    if event == "open" and str(arguments[0]).startswith((".", "pyproject", "dropcli.", "config")):
        sys.stderr.write(f"OPENED {arguments[0]}")
sys.addaudithook(audit)
from dropcli.cli import main
sys.exit(main(["apply", "data", "-o", "out", "-p", "0.3", "--seed", "7", "-q", "-j", "1"]))
"""
    Path("hook.py").write_text(hook)
    for name in (".dropcli", ".env", "dropcli.toml", "pyproject.toml", "config.json"):
        Path(name).write_text("p = 0.9")
    done = shell(f"{sys.executable} hook.py")
    assert (done.returncode, done.stderr, tree("out")) == (0, b"", data)


def test_e12_without_torch_all_but_its_masks_work(data: dict[str, bytes]) -> None:
    torch.save({"x": torch.ones(3)}, "new.pt")
    torch.save({"x": torch.ones(3)}, "old.pt", _use_new_zipfile_serialization=False)
    code = "import sys; sys.modules['torch'] = None; from dropcli.cli import main;"
    command = f"{sys.executable} -c {shlex.quote(code + 'sys.exit(main(sys.argv[1:]))')} apply "
    for words in (
        "data/0.safetensors -o 0.safetensors",
        "new.pt -o y.pt",
        "new.pt -o y.safetensors",
        "old.pt -o z.pt",
    ):
        assert shell(f"{command} {words} -q").returncode == 0
    done = shell(f"{command} new.pt -o w.pt --rng torch --json")
    assert (done.returncode, codes(done.stdout)) == (1, ["not-installed"])
    assert done.stderr.endswith(b"hint: pip install torch\n")
    assert not Path("w.pt").exists()


def test_e12_a_library_that_is_missing_is_one_line(data: dict[str, bytes]) -> None:
    code = "import sys; sys.modules['safetensors'] = None; from dropcli.cli import main;"
    code += "sys.exit(main(['apply', 'data/0.safetensors', '-o', 'y.safetensors', '--json']))"
    done = shell(f"{sys.executable} -c {shlex.quote(code)}")
    assert (done.returncode, codes(done.stdout)) == (1, ["not-loaded"])
    assert done.stderr.count(b"\n") == 2


def test_e17_nothing_is_forked_from_a_process_with_threads(data: dict[str, bytes]) -> None:
    hook = """
import sys, threading, time
import torch
torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # which starts torch's threads
threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
def audit(event, arguments):
    if event in ("os.fork", "os.forkpty"):
        sys.stderr.write("FORKED")
sys.addaudithook(audit)
from dropcli.cli import main
sys.exit(main(["apply", "data", "-o", "out", "-p", "0.3", "--seed", "7", "-q", "-j", "2"]))
"""
    Path("hook.py").write_text(hook)
    done = shell(f"timeout 60 {sys.executable} -W error::DeprecationWarning hook.py")
    assert (done.returncode, done.stderr, tree("out")) == (0, b"", data)
