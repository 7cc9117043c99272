"""Bad-input cases F01 to F24: file systems.

Faults at every system call, full disks and signals have separate modules.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import sample, sparse, tree
from tests.conftest import SETTINGS, Run, shell
from tests.refusal import Refuse

APPLY = ("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)


@pytest.fixture
def x() -> torch.Tensor:
    """An input of several pieces."""
    tensor = torch.rand(1 << 20)
    save_file({"x": tensor}, "x.safetensors")
    return tensor


def failing(number: int, calls: list[Any]) -> Callable[..., Any]:
    """A system call that fails, and records its arguments."""

    def fail(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["preadv", "fsync"])
def test_f03_a_disk_that_fails_is_not_asked_again(
    x: torch.Tensor, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(os, call, failing(errno.EIO, calls))
    place = "x.safetensors" if call == "preadv" else "y.safetensors"
    refusal = refuse(*APPLY)
    assert (refusal.code, refusal.line) == ("os-error", f"{place}: input/output error")
    assert len(calls) == 2 or call == "preadv"  # once a run; some reads are under way


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC])
def test_f04_a_folder_that_takes_no_file_is_found_before_any_work(
    x: torch.Tensor, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    reads: list[int] = []
    opened, preadv = os.open, os.preadv

    def open_but_not_make(path: Any, flags: int, *rest: Any, **keywords: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)
        return opened(path, flags, *rest, **keywords)

    def count(fd: int, buffers: list[memoryview], offset: int) -> int:
        reads.append(len(buffers[0]))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "open", open_but_not_make)
    monkeypatch.setattr(os, "preadv", count)
    reason = os.strerror(number).lower()
    assert refuse(*APPLY).line.lower() == f"y.safetensors: {reason}"
    assert sum(reads) < 2000  # the header alone, once a run


def test_f06_a_folder_that_is_not_there(x: torch.Tensor, refuse: Refuse) -> None:
    refusal = refuse("apply", "x.safetensors", "-o", "no/where/y.pt")
    assert (refusal.code, refusal.hint) == ("no-folder", "mkdir -p no/where")


def test_f08_links_to_files_are_written_through(x: torch.Tensor, run: Run) -> None:
    os.mkdir("there")
    Path("there/real").write_text("old")
    os.symlink("there/real", "one")
    os.symlink("one", "y.safetensors")
    assert run(*APPLY, "--force", "-q").code == 0
    assert os.readlink("y.safetensors") == "one"
    assert os.readlink("one") == "there/real"
    assert load_file("there/real")["x"].shape == x.shape
    assert os.listdir("there") == ["real"]


def test_f09_hard_links_are_files_of_their_own(run: Run) -> None:
    sample("data/a.pt")
    os.link("data/a.pt", "data/b.pt")
    assert run("apply", "data", "-o", "out", *SETTINGS).code == 0
    a, b = (torch.load(f"out/{name}.pt")["x"] for name in "ab")
    assert not torch.equal(a, b)  # as two files of equal content have two masks


def test_f11_a_file_system_that_can_do_little(
    x: torch.Tensor, run: Run, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*APPLY, "-q")
    Path("y.safetensors").rename("expected")
    fsync = os.fsync

    def sync_files_alone(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EINVAL, "")
        fsync(fd)

    calls: list[Any] = []
    monkeypatch.setattr(os, "fsync", sync_files_alone)
    monkeypatch.setattr(os, "link", failing(errno.EPERM, calls))
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP, calls))
    assert run(*APPLY, "-q").code == 0
    assert len(calls) == 2
    assert Path("y.safetensors").read_bytes() == Path("expected").read_bytes()
    assert refuse(*APPLY).code == "exists"


def test_f12_f18_files_lost_during_the_run_fail_alone_and_are_resumed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        sample(f"data/{number}.safetensors", number)
    run("apply", "data", "-o", "whole", *SETTINGS, "-j", 1)
    shutil.copytree("data", "kept", copy_function=shutil.copy2)
    preadv = os.preadv

    def lose_and_read(fd: int, buffers: list[memoryview], offset: int) -> int:
        Path("data/2.safetensors").unlink(missing_ok=True)
        if os.readlink(f"/proc/self/fd/{fd}").endswith("1.safetensors"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return preadv(fd, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", lose_and_read)
        result = run("apply", "data", "-o", "out", *SETTINGS, "--json", "-j", 1)
    assert result.code == 3
    assert [error["source"] for error in result.json["errors"]] == [
        "data/1.safetensors",
        "data/2.safetensors",
    ]
    assert set(tree("out")) == {"0.safetensors", "3.safetensors"}
    shutil.copy2("kept/2.safetensors", "data/2.safetensors")
    resumed = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "-j", 1)
    assert (resumed.code, "skipped  2 files, done before" in resumed.out) == (0, True)
    assert tree("out") == tree("whole")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_f13_a_file_system_without_locks(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sample("data/a.pt")
    monkeypatch.setattr("fcntl.flock", failing(number, []))
    assert run("apply", "data", "-o", "out", "-q").code == 0


@pytest.mark.parametrize("size", [2**31, 2**32, 2**40], ids=["2 GiB", "4 GiB", "1 TiB"])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_f16_planned_sizes_around_powers_of_two(run: Run, size: int, more: int) -> None:
    count = size + more
    header = '{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (count, count), count)
    assert run("info", "x.safetensors", "--json").json["files"][0]["tensors"][0]["bytes"] == count
    words = ("apply", "x.safetensors", "-o", "y.safetensors", "--no-provenance", "-n", "--json",
             "--eval")  # fmt: skip
    assert run(*words).json["files"][0]["bytes"] == os.path.getsize("x.safetensors")


def test_f20_what_dead_runs_left_is_swept_and_nothing_else(x: torch.Tensor, run: Run) -> None:
    dead = ".y.safetensors.dropcli-thathost-00000000-00000000.tmp"
    alive = ".y.safetensors.dropcli-thathost-00000000-00000001.tmp"  # its writer holds a lock
    others = [
        alive,
        ".z.safetensors.dropcli-thathost-00000000-00000000.tmp",
        ".y.safetensors.tmp",
    ]
    for name in (dead, *others):
        Path(name).write_text("unfinished")
    with open(alive, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(*APPLY, "-q").code == 0
    assert {*os.listdir()} == {"x.safetensors", "y.safetensors", *others}
    for name in others:
        os.unlink(name)


def test_f20_a_planted_link_is_not_followed(
    x: torch.Tensor, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("theirs").write_text("precious")
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count))
    host = re.sub("[^A-Za-z0-9.]", "_", os.uname().nodename)[:32]
    planted = f".y.safetensors.dropcli-{host}-00000000-00000000.tmp"
    os.symlink("theirs", planted)
    assert refuse(*APPLY).line == "y.safetensors: file exists"
    os.unlink(planted)


def test_f21_extended_attributes_of_what_is_replaced_stay(x: torch.Tensor, run: Run) -> None:
    Path("y.safetensors").write_text("old")
    try:
        os.setxattr("y.safetensors", "user.note", b"keep me")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert run(*APPLY, "--force", "-q").code == 0
    assert os.getxattr("y.safetensors", "user.note") == b"keep me"


@pytest.mark.parametrize("time", [0, -1, 2**32 + 5], ids=["1970", "before", "2106"])
def test_f22_times_of_change_that_are_odd(run: Run, time: int) -> None:
    for number in range(3):
        sample(f"data/{number}.pt", number)
        os.utime(f"data/{number}.pt", (time, time))
    run("apply", "data", "-o", "out", *SETTINGS)
    whole = tree("out")
    for path in Path("out").glob("*.pt"):
        os.utime(path, (time, time))
    sample("data/1.pt", 9)
    os.utime("data/1.pt", (time, time + 1))
    again = run("apply", "data", "-o", "out", *SETTINGS, "--resume")
    assert again.code == 0
    changed = {name for name, data in tree("out").items() if data != whole[name]}
    assert changed == {"1.pt"}


def test_f23_deeper_than_python_calls_and_than_a_path_can_say(run: Run) -> None:
    sample("x.pt")
    here = os.getcwd()
    os.mkdir("data")
    os.chdir("data")
    for depth in range(2101):
        if depth in (0, 1000, 2100):
            shutil.copy(f"{here}/x.pt", f"{depth}.pt")
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert result.code == 3
    assert result.errors[0] == "os-error"
    reached = {"data/0.pt", f"data/{'d/' * 1000}1000.pt"}
    assert {file["source"] for file in result.json["files"]} == reached
    assert all(os.path.isfile(path.replace("data", "out")) for path in reached)
    shell("rm -r data out")  # Python's own functions would recurse a thousand times


def test_f24_a_folder_that_is_removed_during_the_run(
    x: torch.Tensor, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def lose_and_sync(fd: int) -> None:
        shutil.rmtree("out", ignore_errors=True)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", lose_and_sync)
    for words in ((), ("--copies", 2)):
        os.mkdir("out")
        output = "out" if words else "out/y.safetensors"
        result = run("apply", "x.safetensors", "-o", output, "-q", *words)
        assert (result.code, result.err.count("\n") <= 3) == (1, True)
        assert "no such file or directory" in result.err
        assert not os.path.exists("out")
