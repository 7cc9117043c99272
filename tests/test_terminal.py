"""Output on a terminal, tested with a pseudo-terminal."""

import re
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.builders import sparse
from tests.conftest import Run, on_terminal


def plain(shown: bytes) -> bytes:
    """What was shown, without its escape codes."""
    return re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", shown)


@pytest.fixture(autouse=True)
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is done within half a second has no bar."""
    monkeypatch.setenv("DROPCLI_KERNEL", "numpy")


def large() -> None:
    count = 500_000_000
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


@pytest.mark.parametrize("columns", ["40", "60", "80"])
def test_the_bar_is_one_line_with_a_label_and_a_percentage(columns: str) -> None:
    large()
    words = ("apply", "x.safetensors", "-o", "/dev/null", "--seed", "1")
    _, _, shown = on_terminal(*words, COLUMNS=columns)
    frames = plain(shown).decode().split("\r")
    bars = [frame for frame in frames if "%" in frame]
    assert bars
    for bar in bars:
        assert re.match(r"x\.safetensors [━╸].* +\d+% .*[\d-]:[\d-]{2}", bar), bar
        assert len(bar.strip("\n")) <= int(columns)
    assert not re.search(r"\x1b\[[2-9]A", shown.decode())  # the cursor moves up by one line


def test_a_dataset_has_a_bar_with_files_and_failures() -> None:
    for number in range(60):
        save_file({"x": torch.zeros(1 << 21)}, f"{number:02}.safetensors")
    Path("00.safetensors").write_bytes(b"damaged")
    words = ("apply", ".", "-o", "out", "--seed", "1", "-j", "1")
    code, _, shown = on_terminal(*words, COLUMNS="160")
    assert code == 3
    assert re.search(rb"dropping .* \d+% \d+ of 60 files 1 failed ", plain(shown))
    assert b"/s" in shown
    assert b"./00.safetensors: " in shown.splitlines()[-2]  # before its hint


def test_without_a_terminal_progress_is_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() * 1e6)  # moments are minutes
    for number in range(3):
        save_file({"x": torch.rand(4)}, f"{number:02}.safetensors")
    errors = run("apply", ".", "-o", "out").err
    assert re.search(r"^dropping: \d of 3 files, ", errors, re.MULTILINE)
    assert "\x1b" not in errors
    assert " of 3 files" not in run("apply", ".", "-o", "out2", "--quiet").err


def test_superscript_digits_are_no_width(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "²")
    monkeypatch.setenv("LINES", "²")
    save_file({"x": torch.rand(4)}, "x.safetensors")
    done = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    assert (done.code, done.err) == (0, "")
