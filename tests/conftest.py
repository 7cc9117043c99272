"""What tests share: running the command, and reading parts of files."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dropcli.cli import main
from tests.builders import sample
from tests.refusal import Refusal, Refuse, check_refusal, snapshot

# Ctrl-C must reach processes that tests start, even if a shell runs them in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.manual_seed(0)  # for what modules draw as they are imported
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)  # which pytest-xdist gives to its workers


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "rounds of the loop that kills and resumes (see tests/test_kill.py)"
    parser.addoption("--rounds", type=int, default=50, help=text)
    text = "a folder of downloaded packages (see tests/test_published.py)"
    parser.addoption("--packages", help=text)


@dataclass
class Result:
    """The result of a run of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The codes in the JSON document."""
        return codes(self.out)

    @property
    def warnings(self) -> list[str]:
        """The codes in the JSON document."""
        return codes(self.out, "warnings")


def codes(document: str | bytes, kind: str = "errors") -> list[str]:
    """The codes of the errors, or the warnings, in a JSON document."""
    return [one["code"] for one in json.loads(document)[kind]]


Run = Callable[..., Result]
SETTINGS = ("-p", 0.3, "--seed", 7)
WORDS = [str(word) for word in SETTINGS]
# With a limit on file sizes, Python would write incomplete compiled modules.
NO_CACHE = "PYTHONDONTWRITEBYTECODE=1"
COMMAND = [sys.executable, "-m", "dropcli", "apply"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has its own folder and random numbers, and leaves no temporary file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # so that tables have their full width
    torch.manual_seed(0)
    yield
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    """A dataset with folders, both formats, and other files; the tensors by their streams."""
    tensors = {
        name: sample(f"data/{name}{'.pt' if number % 2 else '.safetensors'}", number)
        for number, name in enumerate(("b", "a", "train/0", "train/1", "val/0", "v/a.b/c.d"))
    }
    Path("data/readme.txt").write_text("hello")
    Path("data/train/classes.json").write_text("{}")
    return tensors


@pytest.fixture
def refuse(run: Run) -> Refuse:
    """Run the command in this process, with and without --json; both must fail alike."""

    def refuse(*arguments: object, exit_code: int = 1, stdin: str | None = None) -> Refusal:
        before = snapshot()
        refusals = []
        for more in ((), ("--json",)):
            with redirected(0, stdin, os.O_RDONLY) if stdin else nullcontext():
                result = run(*arguments, *more)
            assert bool(result.out) == bool(more)
            refusals.append(check_refusal(before, exit_code, result.code, result.out, result.err))
        text, document = refusals
        assert text.hint == document.hint  # lines differ where the safetensors library's do
        return document

    return refuse


def shell(
    command: str, stdin: bytes = b"", /, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in a separate process, with `dropcli` on its path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    return subprocess.run(
        ["bash", "-c", command], input=stdin, capture_output=True, env=environment, check=False
    )


def on_terminal(*arguments: str, **variables: str) -> tuple[int, bytes, bytes]:
    """Exit code, standard output (a pipe) and standard error (a terminal)."""
    return _on_terminal(arguments, variables, both=False)


def wholly_on_terminal(*arguments: str, **variables: str) -> tuple[int, bytes]:
    """The exit code, and what a terminal gets from both standard streams."""
    code, _, shown = _on_terminal(arguments, variables, both=True)
    return code, shown


def _on_terminal(
    arguments: tuple[str, ...], variables: dict[str, str], *, both: bool
) -> tuple[int, bytes, bytes]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dropcli", *arguments],
        stdout=theirs if both else subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **variables},
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other side of the terminal is closed
        pass
    output, _ = process.communicate()
    os.close(ours)
    return process.returncode, output or b"", shown


@contextmanager
def redirected(stream: int, path: str, flags: int) -> Iterator[None]:
    """Redirect a standard stream of this process, by number, to a file inside the block."""
    before, number = os.dup(stream), os.open(path, flags)
    os.dup2(number, stream)
    os.close(number)
    try:
        yield
    finally:
        os.dup2(before, stream)
        os.close(before)


def header_of(path: str | Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, read without any of our code."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss // 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_megabytes(*arguments: str, codes: tuple[int, ...] = (0,)) -> int:
    """The peak memory of a command, started from a process that is itself small."""
    command = [sys.executable, "-m", "dropcli", *arguments]
    quoted = shlex.join((sys.executable, "-c", MEASURE, *command))
    done = shell(quoted)
    assert done.returncode in codes, done.stderr
    assert b"Traceback" not in done.stderr
    return int(done.stdout.split()[-1])


def wait_for(condition: object, seconds: float = 30) -> bool:
    """Wait until the condition holds: orphans of a killed run need some time to end."""
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


HOLD = """
import os, sys, time
def hold(event, arguments):
    if event == "open" and str(arguments[0]).endswith({name!r}):
        while not os.path.exists({go!r}):
            time.sleep(0.01)
sys.addaudithook(hold)
"""


def held_at(name: str) -> dict[str, str]:
    """Variables for runs that wait where they open a file of this name, until `go` is there.

    However quick or busy the machine is, such a run is at work when something happens to it.
    """
    path = Path("hold/sitecustomize.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(HOLD.format(name=name, go=os.path.abspath("go")))
    paths = (str(path.parent.absolute()), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def processor_seconds() -> float:
    """What this process and those that it waited for have used, however busy the machine is."""
    return sum(os.times()[:4])
