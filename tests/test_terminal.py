"""What a person at a terminal sees, on a pseudo-terminal."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.builders import sparse
from tests.conftest import Run


def on_terminal(*arguments: str, **variables: str) -> tuple[int, bytes, bytes]:
    """Exit code, standard output (a pipe) and standard error (a terminal)."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dropcli", *arguments]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **variables}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # how a terminal says that the other side is gone
        pass
    output, _ = process.communicate()
    os.close(ours)
    return process.returncode, output, shown


def large() -> None:
    count = 200_000_000
    header = '{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (count, 4 * count), 4 * count)


def test_long_work_has_a_bar_with_bytes_rate_and_time_left() -> None:
    large()
    code, output, shown = on_terminal("apply", "x.safetensors", "-o", "/dev/null", "--seed", "1")
    assert code == 0
    assert b"GB" in shown or b"MB" in shown
    assert b"/s" in shown
    assert b"0:00:" in shown
    assert b"\x1b" not in output
    assert shown.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h", b"\x1b[1A\x1b[2K"))  # and is gone


def test_short_or_quiet_work_has_none() -> None:
    sparse("s.safetensors", '{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', 36)
    assert on_terminal("apply", "s.safetensors", "-o", "y.safetensors")[2] == b""
    large()
    for options, variables in ((("-q",), {}), ((), {"TERM": "dumb"})):
        _, _, shown = on_terminal(
            "apply", "x.safetensors", "-fo", "/dev/null", *options, **variables
        )
        assert shown == b""
    assert Path("y.safetensors").exists()


def test_a_dataset_has_a_bar_with_files_and_failures() -> None:
    for number in range(60):
        save_file({"x": torch.zeros(1 << 21)}, f"{number:02}.safetensors")
    Path("00.safetensors").write_bytes(b"damaged")
    code, _, shown = on_terminal("apply", ".", "-o", "out", "--seed", "1", COLUMNS="160")
    assert code == 3
    assert b" of 60 files, 1 failed" in shown
    assert b"/s" in shown
    assert b"./00.safetensors: expected" in shown.splitlines()[-1]


def test_elsewhere_it_says_so_now_and_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() * 1e6)  # moments are minutes
    for number in range(3):
        save_file({"x": torch.rand(4)}, f"{number:02}.safetensors")
    errors = run("apply", ".", "-o", "out").err
    assert " of 3 files, " in errors
    assert "\x1b" not in errors
    assert " of 3 files" not in run("apply", ".", "-o", "out2", "--quiet").err


def test_odd_digits_are_no_width(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "²")
    monkeypatch.setenv("LINES", "²")
    save_file({"x": torch.rand(4)}, "x.safetensors")
    done = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    assert (done.code, done.err) == (0, "")
