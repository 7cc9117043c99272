"""Containers and hosts that share a folder: what one writes, another does not take for stale."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import COMMAND, shell, wait_for

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


@pytest.fixture
def at_work() -> "subprocess.Popen[bytes]":
    """A run that is stopped while it writes y.safetensors."""
    save_file({"x": torch.rand(1 << 24)}, "x.safetensors")
    process = subprocess.Popen(command("-o", "y.safetensors"), stderr=-1)
    assert wait_for(lambda: list(Path().glob(".y.*.tmp")))
    process.send_signal(signal.SIGSTOP)
    return process


def test_another_container_leaves_an_unfinished_file_alone(
    at_work: "subprocess.Popen[bytes]",
) -> None:
    (unfinished,) = Path().glob(".y.*.tmp")
    assert elsewhere("-o", "y.safetensors").returncode == 0  # it sweeps, and is quicker
    assert unfinished.exists()
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
    assert list(Path().glob(".y.*.tmp"))
    assert elsewhere("-o", "y.safetensors").returncode == 0
    assert not list(Path().glob(".y.*.tmp"))
