"""Publishing: after any failure, the destination is the old file or the new one."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import sample, tree
from tests.conftest import NO_CACHE, SETTINGS, Run, shell

COMMAND = [sys.executable, "-m", "dropcli", "apply", "x.safetensors", "-fqo", "y.safetensors"]


@pytest.fixture
def big() -> None:
    """An input that takes a while, and an old output."""
    save_file({"x": torch.rand(1 << 25)}, "x.safetensors")
    Path("y.safetensors").write_text("precious")


def listing() -> set[str]:
    return set(os.listdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_e02_e03_a_signal_leaves_the_old_file(big: None, number: int, code: int) -> None:
    for delay in (0, 0.01, 0.03):
        process = subprocess.Popen(COMMAND, stderr=subprocess.PIPE)
        while not list(Path().glob(".*.tmp")):  # until the output is being written
            assert process.poll() is None
        time.sleep(delay)
        for _ in range(3):  # repeated signals change nothing
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert listing() == {"x.safetensors", "y.safetensors"}
        if process.returncode == 0:  # it ended before the signal
            assert load_file("y.safetensors")["x"].shape == (1 << 25,)
        else:
            assert process.returncode == code
            assert errors == b"interrupted; nothing half-written is left\n"
            assert Path("y.safetensors").read_text() == "precious"
        Path("y.safetensors").write_text("precious")


def test_f02_a_full_disk_leaves_the_old_file(big: None) -> None:
    done = shell(f"ulimit -f 1000; {NO_CACHE} dropcli apply x.safetensors -fo y.safetensors")
    assert done.returncode == 1
    assert done.stderr == b"error: y.safetensors: file too large\n"
    assert Path("y.safetensors").read_text() == "precious"
    assert listing() == {"x.safetensors", "y.safetensors"}


def test_f01_a_disk_that_fills_up(big: None) -> None:
    os.mkdir("small")
    if shell("mount -t tmpfs -o size=1m tmpfs small").returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = shell("dropcli apply x.safetensors -o small/y.safetensors")
        assert done.returncode == 1
        assert done.stderr == b"error: small/y.safetensors: no space left on device\n"
        assert os.listdir("small") == []
    finally:
        shell("umount small")


def test_s43_f17_a_source_that_changes_is_noticed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": torch.rand(1000)}, "x.safetensors")
    preadv = os.preadv

    def touch_and_read(fd: int, buffers: list[memoryview], offset: int) -> int:
        os.utime("x.safetensors", (1, 1))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", touch_and_read)
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--json")
    assert (result.code, result.errors) == (1, ["changed-while-read"])
    assert listing() == {"x.safetensors"}


def test_s43_a_source_that_shrinks_is_noticed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"x": torch.rand(1 << 20)}, "x.safetensors")
    preadv = os.preadv

    def cut_and_read(fd: int, buffers: list[memoryview], offset: int) -> int:
        os.truncate("x.safetensors", 1 << 20)
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", cut_and_read)
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--json")
    assert (result.code, result.errors) == (1, ["invalid-header"])
    assert listing() == {"x.safetensors"}


def test_f19_an_output_that_appears_during_the_run_is_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": torch.rand(1000)}, "x.safetensors")
    fsync = os.fsync

    def appear(fd: int) -> None:
        Path("y.safetensors").write_text("another program's")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", appear)
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--json")
    assert (result.code, result.errors) == (1, ["exists"])
    assert Path("y.safetensors").read_text() == "another program's"


def test_short_reads_and_writes_are_completed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"x": torch.rand(5000)}, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    write, preadv = os.write, os.preadv
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:777]))
    monkeypatch.setattr(os, "preadv", lambda fd, b, at: preadv(fd, [b[0][:555]], at))
    run("apply", "x.safetensors", "-o", "z.safetensors", "--seed", 1)
    assert Path("y.safetensors").read_bytes() == Path("z.safetensors").read_bytes()


def test_f08_a_link_that_leads_nowhere_yet_is_written_through(run: Run) -> None:
    save_file({"x": torch.rand(10)}, "x.safetensors")
    os.mkdir("there")
    os.symlink("there/y.safetensors", "y.safetensors")
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "-q").code == 0
    assert os.path.islink("y.safetensors")
    assert load_file("there/y.safetensors")["x"].shape == (10,)
    os.symlink("loop", "loop")
    result = run("apply", "x.safetensors", "-o", "loop", "-f")
    assert result.code == 1
    assert "too many levels of symbolic links" in result.err


def test_a_link_in_the_output_folder_to_a_missing_folder(run: Run) -> None:
    for folder in ("in", "out"):
        os.mkdir(folder)
    for name in "ab":
        save_file({"x": torch.rand(10)}, f"in/{name}.safetensors")
    os.symlink("../gone/a.safetensors", "out/a.safetensors")
    result = run("apply", "in", "-o", "out", "--json")
    assert (result.code, result.errors) == (3, ["no-folder"])
    assert result.json["errors"][0]["hint"] == f"mkdir -p {os.path.realpath('gone')}"
    assert Path("out/b.safetensors").exists()


def test_f07_the_longest_name_there_can_be(run: Run) -> None:
    save_file({"x": torch.rand(10)}, "x.safetensors")
    name = "é" * 120 + "y.safetensors"  # 253 bytes
    assert run("apply", "x.safetensors", "-o", name, "-q").code == 0
    result = run("apply", "x.safetensors", "-o", "n" * 300)
    assert result.code == 1
    assert "file name too long" in result.err


def test_a_folder_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"x": torch.rand(10)}, "x.safetensors")
    result = run("apply", "x.safetensors", "-o", "/proc/y.safetensors")
    assert result.code == 1
    assert result.err.startswith("error: /proc/y.safetensors: ")


def test_standard_output_may_not_be_the_input() -> None:
    save_file({"x": torch.rand(1000)}, "x.safetensors")
    before = Path("x.safetensors").read_bytes()
    for redirection in (">>", "1<>"):
        done = shell(f"dropcli apply x.safetensors -o - {redirection} x.safetensors")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 2)
    assert Path("x.safetensors").read_bytes() == before


def test_f05_a_read_only_file_is_replaced_only_by_force(run: Run) -> None:
    save_file({"x": torch.rand(1000)}, "x.safetensors")
    os.chmod("x.safetensors", 0o444)
    result = run("apply", "x.safetensors", "--in-place", "--json")
    assert (result.code, result.errors) == (1, ["read-only"])
    assert run("apply", "x.safetensors", "--in-place", "--force").code == 0
    assert os.stat("x.safetensors").st_mode & 0o777 == 0o444


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(run: Run) -> None:
    save_file({"x": torch.rand(1000)}, "x.safetensors")
    os.chown("x.safetensors", 65534, 65534)
    assert run("apply", "x.safetensors", "--in-place", "-q").code == 0
    assert os.stat("x.safetensors").st_uid == 65534


def test_a14_pipes_and_devices_are_not_replaced_in_place(run: Run) -> None:
    os.mkfifo("fifo")
    assert run("apply", "fifo", "--in-place").code == 2


def test_a14_block_devices_are_refused(run: Run) -> None:
    save_file({"x": torch.rand(10)}, "x.safetensors")
    if shell("mknod disk b 7 200").returncode:
        pytest.skip("making devices is not allowed here")
    result = run("apply", "x.safetensors", "-o", "disk", "-f", "--json")
    assert (result.code, result.errors) == (1, ["not-a-file"])


@pytest.mark.parametrize("inputs", [("x.safetensors",), ("data",)])
def test_no_sync_leaves_the_disk_to_the_system(
    run: Run, monkeypatch: pytest.MonkeyPatch, inputs: tuple[str, ...]
) -> None:
    Path("data").mkdir()
    for path in ("x.safetensors", "data/0.safetensors", "data/1.safetensors"):
        save_file({"x": torch.ones(9)}, path)

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    output = "y.safetensors" if inputs == ("x.safetensors",) else "out/"
    words = ("apply", *inputs, "-o", output, *SETTINGS, "-j", 1)
    assert run(*words).code != 0
    assert not list(Path().rglob("out/*.safetensors"))
    assert not Path("y.safetensors").exists()
    assert run(*words, "-f", "--no-sync").code == 0
    assert Path("y.safetensors").exists() or len(tree("out")) == 2


def test_many_files_are_on_the_disk_together(run: Run) -> None:
    for number in range(40):
        sample(f"data/{number}.safetensors", number)
    assert run("apply", "data", "-o", "together", *SETTINGS, "-j", 1).code == 0
    assert run("apply", "data", "-o", "alone", *SETTINGS, "-j", 1, "--no-sync").code == 0
    assert tree("together") == tree("alone")
    assert len(tree("together")) == 40
