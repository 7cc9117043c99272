"""Large files are dropped by several processes: the same bytes, and nothing is lost with them."""

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import shell
from tests.test_limits import sparse
from tests.test_resume import wait_for

WORDS = ("-p", "0.3", "--seed", "7")
COMMAND = [sys.executable, "-m", "dropcli", "apply"]
ELEMENTS = 3 << 22  # of float32, 48 MiB: enough for processes to share


def children(pid: int) -> list[int]:
    """The processes that this one has begun."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def begun(*words: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A run over a large file whose processes are at work, and those."""
    size = 1 << 30
    header = f'{{"x":{{"dtype":"F32","shape":[{size // 4}],"data_offsets":[0,{size}]}}}}'
    sparse("x.st", header, size)
    Path("y.safetensors").write_text("precious")
    arguments = [*COMMAND, "x.st", "-fo", "y.safetensors", *WORDS, *words]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True)
    assert wait_for(lambda: len(children(process.pid)) > 1)
    return process, children(process.pid)


def nothing_is_lost() -> None:
    assert {path.name for path in Path().iterdir()} == {"x.st", "y.safetensors"}
    assert Path("y.safetensors").read_text() == "precious"


def a_plain_file() -> None:
    tensors = {"x": torch.rand(ELEMENTS), "y": torch.rand(3, 5), "z": torch.rand(1 << 20).half()}
    save_file(tensors, "data.safetensors", {"author": "somebody"})


def an_archive() -> None:
    x = torch.rand(ELEMENTS)
    torch.save({"x": x, "tied": x, "other": [torch.rand(7), "text"]}, "data.pt")


def strides() -> None:
    x = torch.rand(3, ELEMENTS // 3)
    torch.save({"x": x.t(), "part": torch.rand(1 << 20, 2)[:, 1]}, "data.pt")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_plain_file, "-o y.safetensors"),
        (a_plain_file, "-o y.safetensors --mode element --key x --key y"),
        (a_plain_file, "-o y.safetensors --fill=-1 --over 0:8 --exact --key x"),
        (a_plain_file, "-o y.safetensors --copies 2 --concat --key x --no-provenance"),
        (a_plain_file, "-o y.pt"),
        (a_plain_file, "--in-place"),
        (an_archive, "-o y.pt"),
        (strides, "-o y.pt"),
        (strides, "-o y.safetensors"),
    ],
)
def test_the_same_by_processes_as_on_one_core(make: Callable[[], None], words: str) -> None:
    results = []
    make()
    (source,) = Path().iterdir()
    original = source.read_bytes()
    for prefix in ("", "taskset -c 0 "):
        source.write_bytes(original)
        done = shell(f"{prefix}dropcli apply {source} {words} {' '.join(WORDS)}")
        assert done.returncode == 0, done.stderr
        output = Path(words.split()[1]) if words.startswith("-o") else source
        results.append((output.read_bytes(), done.stdout, done.stderr))
        assert output.suffix == ".safetensors" or zipfile.ZipFile(output).testzip() is None
        if output != source:
            output.unlink()
    assert results[0] == results[1]
    assert results[0][0] != original


def test_a_process_that_is_killed() -> None:
    process, (first, *others) = begun()
    os.kill(first, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.decode().splitlines() == [
        "error: x.st: expected its worker processes to live, but one was killed",
        "hint: is there enough memory?",
    ]
    assert all(map(is_gone, others))
    nothing_is_lost()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["process", "group"])
def test_a_signal_ends_them_all(number: int, to: Callable[[int, int], None]) -> None:
    process, begun_by_it = begun()
    to(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.decode().splitlines() == ["interrupted; nothing half-written is left"]
    assert all(map(is_gone, begun_by_it))
    nothing_is_lost()


def test_they_do_not_outlive_a_run_that_is_killed() -> None:
    process, begun_by_it = begun()
    process.kill()
    process.communicate(timeout=30)
    assert wait_for(lambda: all(map(is_gone, begun_by_it)))
    assert Path("y.safetensors").read_text() == "precious"
    assert shell(f"dropcli apply x.st -fo y.safetensors -q {' '.join(WORDS)}").returncode == 0
    assert {path.name for path in Path().iterdir()} == {"x.st", "y.safetensors"}


def disturbed(change: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with functions of the system replaced, in all its processes."""
    Path("changed").mkdir(exist_ok=True)
    Path("changed/sitecustomize.py").write_text(f"import os, errno\n{change}")
    folder = str(Path("changed").resolve())
    return shell(
        f"dropcli apply data.safetensors -fo y.safetensors -q {' '.join(WORDS)}", PYTHONPATH=folder
    )


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        ("pwrite", "ENOSPC", "y.safetensors: no space left on device"),
        ("pwrite", "EIO", "y.safetensors: input/output error"),
        ("lseek", "EIO", "y.safetensors: input/output error"),
        ("preadv", "EIO", "data.safetensors: input/output error"),
    ],
)
def test_a_system_that_fails_in_one_of_them(call: str, error: str, name: str) -> None:
    a_plain_file()
    Path("y.safetensors").write_text("precious")
    done = disturbed(
        f"real = os.{call}\n"
        "calls = 0\n"
        "def fails(*arguments):\n"
        "    global calls\n"
        "    calls += 1\n"
        f"    if calls == 5: raise OSError(errno.{error}, os.strerror(errno.{error}))\n"
        "    return real(*arguments)\n"
        f"os.{call} = fails\n"
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == f"error: {name}"
    assert Path("y.safetensors").read_text() == "precious"
    names = {path.name for path in Path().iterdir()}
    assert names == {"changed", "data.safetensors", "y.safetensors"}


@pytest.mark.parametrize(
    "change",
    [
        "real = os.pwrite\nos.pwrite = lambda fd, data, at: real(fd, data[:99_999], at)\n",
        "def fork(): raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = fork\n",
    ],
    ids=["short-writes", "no-more-processes"],
)
def test_a_system_that_gives_less(change: str) -> None:
    a_plain_file()
    assert shell(f"dropcli apply data.safetensors -o z.st -q {' '.join(WORDS)}").returncode == 0
    done = disturbed(change)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("y.safetensors").read_bytes() == Path("z.st").read_bytes()


def test_a_source_that_shrinks_while_they_read() -> None:
    a_plain_file()
    done = disturbed(
        "real = os.preadv\n"
        "def preadv(fd, buffers, offset, *more):\n"
        "    if offset > 30_000_000: os.truncate('data.safetensors', 30_000_000)\n"
        "    return real(fd, buffers, offset, *more)\n"
        "os.preadv = preadv\n"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: data.safetensors: ")
    assert {path.name for path in Path().iterdir()} == {"changed", "data.safetensors"}
