"""Containers and hosts that share a folder: none removes unfinished files of another."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import COMMAND, shell

ELSEWHERE = "unshare --pid --fork --uts sh -c"  # a container: other processes, another host name

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shell(f"{ELSEWHERE} true").returncode != 0,
    reason="only root can make PID namespaces, and not in every container",
)


def command(*words: str) -> list[str]:
    return [*COMMAND, "x.safetensors", "-q", "--seed", "1", *words]


def elsewhere(*words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command in another container, under another host name."""
    inside = f"hostname other-host && {shlex.join(command(*words))}"
    return shell(f"{ELSEWHERE} {shlex.quote(inside)}")


def unfinished() -> list[Path]:
    return list(Path().glob(".y.*.tmp"))


@pytest.fixture
def at_work() -> "subprocess.Popen[bytes]":
    """A run that is stopped while it writes y.safetensors."""
    save_file({"x": torch.rand(1 << 24)}, "x.safetensors")
    for _ in range(20):  # on a fast machine the run may end before it is stopped
        process = subprocess.Popen(command("-o", "y.safetensors"), stderr=-1)
        while process.poll() is None and not unfinished():
            pass
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        if unfinished():
            return process
        process.send_signal(signal.SIGCONT)
        process.communicate()
        Path("y.safetensors").unlink()
    raise AssertionError("no run was stopped in time")


def test_another_container_leaves_an_unfinished_file_alone(
    at_work: "subprocess.Popen[bytes]",
) -> None:
    (stopped,) = unfinished()
    assert elsewhere("-o", "y.safetensors").returncode == 0  # it removes stale files
    assert stopped.exists()
    at_work.send_signal(signal.SIGCONT)
    _, errors = at_work.communicate()
    assert (at_work.returncode, errors.startswith(b"error: y.safetensors: ")) == (1, True)
    first = Path("y.safetensors").read_bytes()
    assert shell(shlex.join(command("-o", "z.safetensors"))).returncode == 0
    assert Path("z.safetensors").read_bytes() == first


def test_another_container_removes_what_a_killed_one_left(
    at_work: "subprocess.Popen[bytes]",
) -> None:
    at_work.kill()
    at_work.communicate()
    assert unfinished()
    assert elsewhere("-o", "y.safetensors").returncode == 0
    assert not unfinished()
