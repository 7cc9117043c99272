"""Full disks, readers that close a pipe, signals at any moment: nothing is lost."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import sample, tree
from tests.conftest import COMMAND, NO_CACHE, SETTINGS, WORDS, Run, shell


def limited(kilobytes: int, words: str, *, after: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run the command with a limit on the size of files, to simulate a full disk."""
    return shell(f"ulimit -f {kilobytes}; {NO_CACHE} dropcli {words} {' '.join(WORDS)}{after}")


def test_a_disk_that_is_full_for_some_files_of_a_folder(run: Run) -> None:
    for number in range(4):
        sample(f"data/{number}.safetensors", number)
    save_file({"x": torch.rand(1 << 20)}, "data/big.safetensors")
    done = limited(100, "apply data -o out -q")
    assert done.returncode == 3
    assert done.stderr == b"error: out/big.safetensors: file too large\n"
    run("apply", "data", "-o", "whole", *SETTINGS)
    assert tree("out") == {n: b for n, b in tree("whole").items() if "big" not in n}
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume").code == 0
    assert tree("out") == tree("whole")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_disk_that_is_full_for_the_journal(run: Run, jobs: int) -> None:
    for number in range(30):
        sample(f"data/{number}.safetensors", number)
    done = limited(8, f"apply data -o out -q -j {jobs}")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "error: out/dropcli.jsonl: file too large",
        "hint: solve the problem, then continue with --resume",
    ]
    resumed = run("apply", "data", "-o", "out", *SETTINGS, "--resume")
    assert resumed.code == 0, resumed.err
    run("apply", "data", "-o", "whole", *SETTINGS)
    assert tree("out") == tree("whole")


def test_a_disk_that_is_full_for_the_statistics() -> None:
    save_file({f"tensor {number}": torch.rand(3) for number in range(100)}, "x.safetensors")
    Path("s.json").write_text("precious")
    done = limited(24, "apply x.safetensors -fqo y.safetensors --stats s.json")
    assert (done.returncode, done.stderr) == (1, b"error: s.json: file too large\n")
    assert Path("s.json").read_text() == "precious"
    assert len(load_file("y.safetensors")) == 100


def test_a_disk_that_is_full_for_piped_input() -> None:
    torch.save({"x": torch.rand(1 << 20)}, "x.pt")
    done = limited(100, "apply - -qo y.pt", after=" < x.pt")
    assert (done.returncode, done.stderr) == (1, b"error: standard input: file too large\n")
    assert not Path("y.pt").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("preview x.safetensors", "sheet.png"),
        ("preview x.safetensors", "sheet.html"),
        ("mask x.safetensors", "m.safetensors"),
        ("mask x.safetensors", "m.pt"),
        *(
            ("apply x.safetensors -qo /dev/null", f"r.{s}")
            for s in ("html", "md", "png", "svg", "pdf")
        ),
    ],
)
def test_a_disk_that_is_full_for_pages_and_masks(words: str, name: str) -> None:
    save_file({f"x{number}": torch.rand(9, 9) for number in range(20)}, "x.safetensors")
    option = "--stats" if words.startswith("apply") else "-o"
    done = limited(1, f"{words} {option} {name}")
    assert (done.returncode, done.stderr) == (1, f"error: {name}: file too large\n".encode())
    assert {path.name for path in Path().iterdir()} == {"x.safetensors"}


def test_a_device_that_is_full() -> None:
    sample("x.safetensors")
    for output in ("/dev/full", "- > /dev/full"):
        done = shell(f"dropcli apply x.safetensors -q -o {output}")
        place = "/dev/full" if output == "/dev/full" else "standard output"
        assert done.returncode == 1
        assert done.stderr.decode() == f"error: {place}: no space left on device\n"
    assert (
        shell("dropcli apply x.safetensors -q -o y.safetensors --stats /dev/full").returncode == 2
    )


@pytest.mark.parametrize("more", ["", " --json", " -v"])
def test_a_reader_that_leaves_loses_no_output(run: Run, more: str) -> None:
    for number in range(200):
        sample(f"data/{number}.safetensors", number)
    words = f"apply data -o out {' '.join(WORDS)}{more}"
    done = shell(f"set -o pipefail; dropcli {words} | true")
    assert done.returncode in (0, 141)  # 0 where all of it went into the pipe
    assert b"Traceback" not in done.stderr
    run("apply", "data", "-o", "whole", *SETTINGS)
    assert tree("out") == tree("whole")


class Signalled:
    """Runs of a command that a signal ends at random moments."""

    def __init__(self, *words: str) -> None:
        self._words = [*COMMAND, *words, *WORDS, "-q"]
        started = time.monotonic()
        assert subprocess.run(self._words, check=False).returncode == 0
        self._duration = time.monotonic() - started
        self._numbers = random.Random(0)
        self.codes: list[int] = []

    def again(self, number: int, *more: str) -> str:
        """Send this signal some time after its handler is installed; return the run's messages."""
        process = subprocess.Popen([*self._words, *more], stderr=subprocess.PIPE, text=True)
        while not _has_handler(process.pid, number):
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(self._numbers.uniform(0, self._duration))
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        # A late signal comes when all is done and the interpreter has restored the default action.
        assert process.returncode in (0, 128 + number, -number), errors
        self.codes.append(process.returncode)
        # Earlier after a signal that came too late, later after others, so that some runs end.
        self._duration *= 1.3 if process.returncode else 0.7
        if process.returncode == 128 + number:
            first, *hints = errors.splitlines()
            assert first.startswith("interrupted; nothing half-written is left"), errors
            assert all(hint.startswith("hint: ") for hint in hints), errors
        else:
            assert errors == ""
        return errors


def _has_handler(pid: int, number: int) -> bool:
    """Whether a process has installed handlers, as its status in /proc shows."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    # Python itself handles Ctrl-C from the start; ours are installed together with SIGTERM's.
    return all(int(caught, 16) >> (wanted - 1) & 1 for wanted in (number, signal.SIGTERM))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_at_any_moment_of_a_file(number: int) -> None:
    save_file({"x": torch.rand(1 << 22)}, "x.safetensors")
    runs = Signalled("x.safetensors", "-fo", "y.safetensors")
    new = Path("y.safetensors").read_bytes()
    for _ in range(8):
        Path("y.safetensors").write_text("precious")
        runs.again(number)
        there = Path("y.safetensors").read_bytes()
        assert there in (b"precious", new)
        assert there == new or runs.codes[-1] != 0
        assert set(tree(".")) == {"x.safetensors", "y.safetensors"}
    assert 128 + number in runs.codes


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_at_any_moment_of_a_folder(number: int, jobs: str) -> None:
    for index in range(100):
        sample(f"data/{index}.safetensors", index)
    runs = Signalled("data", "-o", "out", "-j", jobs)
    whole = tree("out")
    while 128 + number not in runs.codes:
        shutil.rmtree("out")
        runs.again(number)
        assert tree("out").items() <= whole.items()
        while runs.codes[-1]:
            runs.again(number, "--resume")
            assert tree("out").items() <= whole.items()
        assert tree("out") == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_during_a_finalizer(number: int) -> None:
    """Exceptions in finalizers are not raised: Python prints them and continues."""
    save_file({"x": torch.rand(1 << 24)}, "x.safetensors")
    Path("interrupted.py").write_text(
        "import os, sys\n"
        "from dropcli.cli import main\n"
        "class Tidy:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "preadv = os.preadv\n"
        "def read(*arguments):\n"
        "    Tidy()\n"
        "    return preadv(*arguments)\n"
        "os.preadv = read\n"
        "sys.exit(main())\n"
    )
    words = ["apply", "x.safetensors", "-o", "y.safetensors", *WORDS]
    done = subprocess.run([sys.executable, "interrupted.py", *words], capture_output=True)
    assert (done.returncode, done.stdout) == (128 + number, b"")
    assert done.stderr.decode().splitlines() == ["interrupted; nothing half-written is left"]
    assert not Path("y.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_when_all_is_done(number: int) -> None:
    """Nothing is left to interrupt: the exit code is that of the run."""
    save_file({"x": torch.rand(5)}, "x.safetensors")
    Path("sitecustomize.py").write_text(
        f"import atexit, os\natexit.register(os.kill, os.getpid(), {int(number)})\n"
    )
    for words, code in (("x.safetensors", 0), ("missing.safetensors", 1)):
        done = shell(f"dropcli apply {words} -fqo y.safetensors -p 0.3", PYTHONPATH=".")
        assert done.returncode == code
        assert len(done.stderr.splitlines()) == code, done.stderr
    assert load_file("y.safetensors")
