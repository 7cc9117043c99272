"""Bad-input cases A01 to A25: arguments."""

import os
import pty
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.catalogue.refusal import Refuse, check_refusal, snapshot
from tests.conftest import Run, shell

APPLY = ("apply", "x.safetensors", "-o", "y.safetensors")

# id -> arguments, exit code, the error line (a part of it)
WRONG = {
    "A01 -p nan": ((*APPLY, "-p", "nan"), 2, "-p: expected a number from 0 to 1, got 'nan'"),
    "A02 -p 0_1": ((*APPLY, "-p", "0_1"), 2, "got '0_1'"),
    "A05 1.0000000000000001": ((*APPLY, "-p", "1.0000000000000001"), 2, "got '1.0000000000000001'"),
    "A05 -p 0.99999999999999999999": ((*APPLY, "-p", "0.99999999999999999999"), 2, "rounds to 1"),
    "A04 -p 1e-400": ((*APPLY, "-p", "1e-400"), 2, "rounds to 0"),
    "A04 1e-99999999999999999999": (
        (*APPLY, "-p", "1e-99999999999999999999"), 2, "expected a number"
    ),
    "A06 -p -0.1": ((*APPLY, "-p", "-0.1"), 2, "got '-0.1'"),
    "A06 -p 1.5": ((*APPLY, "-p", "1.5"), 2, "got '1.5'"),
    "A06 -p 50%": ((*APPLY, "-p", "50%"), 2, "got '50%'"),
    "--no-rescale": (
        (*APPLY, "--fill", "1" + 20 * "0", "-k", "labels", "--no-rescale"), 1, "a fill from"
    ),
    "A11 chanel": (
        (*APPLY, "--mode", "chanel"), 2, "--mode: 'chanel' is not one of element, channel"
    ),
    "no suffix": (("apply", "x.safetensors", "-o", "no"), 2, "-o: 'no' has no suffix"),
    "no.npz": (("apply", "x.safetensors", "-o", "no.npz"), 2, "which .npz files do not"),
    "A06 -p 1/2": ((*APPLY, "-p", "1/2"), 2, "got '1/2'"),
    "A06 -p 0,5": ((*APPLY, "-p", "0,5"), 2, "got '0,5'"),
    "A06 -p True": ((*APPLY, "-p", "True"), 2, "got 'True'"),
    "A06 -p": ((*APPLY, "-p", ""), 2, "got ''"),
    "A06 -p  0.5": ((*APPLY, "-p", " 0.5"), 2, "got ' 0.5'"),
    "A06 -p ٠.٥": ((*APPLY, "-p", "٠.٥"), 2, "expected a number"),
    "A06 -p inf": ((*APPLY, "-p", "inf"), 2, "got 'inf'"),
    "A07 -1": (
        (*APPLY, "--seed", "-1"), 2, "--seed: expected an integer from 0 to 18446744073709551615"
    ),
    "A07 --seed 18446744073709551616": ((*APPLY, "--seed", str(2**64)), 2, "--seed: expected"),
    "A07 --seed 5.0": ((*APPLY, "--seed", "5.0"), 2, "got '5.0'"),
    "A07 --seed 1_000": ((*APPLY, "--seed", "1_000"), 2, "got '1_000'"),
    "A07 --seed 0x10": ((*APPLY, "--seed", "0x10"), 2, "got '0x10'"),
    "A07 --seed": ((*APPLY, "--seed", "9" * 5000), 2, "--seed: expected"),
    "--fill nan": ((*APPLY, "--fill", "nan"), 2, "--fill: expected a finite number, got 'nan'"),
    "--fill 1e999": ((*APPLY, "--fill", "1e999"), 2, "got '1e999'"),
    "--over": ((*APPLY, "--over", ""), 2, "--over: expected dimensions"),
    "--over 0,,1": ((*APPLY, "--over", "0,,1"), 2, "got '0,,1'"),
    "--over 0:0": ((*APPLY, "--over", "0:0"), 2, "where a block is empty"),
    "--over 0,0": ((*APPLY, "--over", "0,0"), 2, "stands twice"),
    "--over a": ((*APPLY, "--over", "a"), 2, "got 'a'"),
    "--mode pixels": ((*APPLY, "--mode", "pixels"), 2, "--mode: "),
    "0": ((*APPLY, "--mode", "channel", "--over", "0"), 2, "got both --mode channel and --over 0"),
    "--stream": ((*APPLY, "--stream", ""), 2, "--stream: expected a name, got ''"),
    "A10 -p .1 -p .2": ((*APPLY, "-p", ".1", "-p", ".2"), 2, "-p: expected once, got it again"),
    "A10 -o z": ((*APPLY, "-o", "z"), 2, "-o: expected once"),
    "A10 --no-rescale": ((*APPLY, "--rescale", "--no-rescale"), 2, "--rescale: expected once"),
    "A24 -q -v": ((*APPLY, "-q", "-v"), 2, "expected -q or -v, got both"),
    "--in-place": ((*APPLY, "--in-place"), 2, "expected -o or --in-place, got both"),
    "A11 --sed 1": ((*APPLY, "--sed", "1"), 2, "no such option: --sed"),
    "--stats s.txt": ((*APPLY, "--stats", "s.txt"), 2, "--stats: expected a name ending in"),
    "apply x.safetensors": (("apply", "x.safetensors"), 2, "expected an output, got none"),
    "A09 -o": (("apply", "x.safetensors", "-o", ""), 2, "expected a path, got ''"),
    "A09 apply  -o y": (("apply", "", "-o", "y.pt"), 2, "expected a path, got ''"),
    "A09 info": (("info", ""), 2, "expected a path, got ''"),
    "apply": (("apply",), 2, "missing argument"),
    "info": (("info",), 2, "missing argument"),
    "A11 agument x": (("agument", "x"), 2, "no such command"),
    "apply - --in-place": (("apply", "-", "--in-place"), 2, "--in-place: expected a file"),
    "y.safetensors": (
        ("apply", "missing", "-o", "y.safetensors"), 1, "missing: no such file or directory"
    ),
    "-o y.safetensors": (
        ("apply", ".", "-o", "y.safetensors"), 2, "-o: expected a folder for several files, got 'y"
    ),
    "no/y": (("apply", "x.safetensors", "-o", "no/y.pt"), 1, "no/y.pt: expected its folder"),
    "A25 image": (
        (*APPLY, "-k", "image"), 1, "--key 'image': expected to match a tensor, got 'labels', 'im"
    ),
    "A25 *x": ((*APPLY, "--exclude", "*x"), 1, "--exclude '*x': expected to match a tensor"),
    "-k labels": ((*APPLY, "-k", "labels"), 1, "tensor 'labels': expected a floating dtype"),
    "A21 --jobs 0": ((*APPLY, "-j", "0"), 2, "--jobs: expected an integer from 1 on, got '0'"),
    "A21 --jobs -1": ((*APPLY, "-j", "-1"), 2, "--jobs: expected an integer from 1 on, got '-1'"),
    "A21 --jobs auto": ((*APPLY, "-j", "auto"), 2, "--jobs: expected an integer from 1 on"),
    "A22 - twice": (("apply", "-", "-", "-o", "y"), 2, "got `-` among several inputs"),
    "A22 - and a file": (("apply", "x.safetensors", "-", "-o", "y"), 2, "got `-` among several"),
    "A18 glob": (("apply", "no*.pt", "-o", "y"), 1, "no*.pt: expected files that match, got none"),
    "A20 a regular expression": ((*APPLY, "-k", "(a+)+$"), 1, "expected to match a tensor"),
    "A20 stars": ((*APPLY, "-k", "*i" * 40 + "*b"), 1, "expected to match a tensor"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _x() -> None:
    save_file({"images": torch.rand(4, 3), "labels": torch.arange(4)}, "x.safetensors")


@pytest.mark.parametrize("case", WRONG)
def test_wrong(refuse: Refuse, case: str) -> None:
    arguments, code, message = WRONG[case]
    assert message in refuse(*arguments, code=code)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_with_json_is_a_document(run: Run, case: str) -> None:
    result = run(*WRONG[case][0], "--json")
    document = result.json
    assert document["status"] == "error"
    assert document["files"] == []
    (error,) = document["errors"]
    assert set(error) == {"source", "code", "message", "hint"}
    assert re.fullmatch(r"[a-z0-9-]+", error["code"])
    assert result.err.startswith("error: ")


@pytest.mark.parametrize("p", ["0", "1", "0.5", ".5", "1.", "5e-1", "+0.5", "-0.0", "0e5"])
def test_a04_good_probabilities(run: Run, p: str) -> None:
    result = run(*APPLY, "-p", p, "--json")
    assert result.json["settings"]["p"] == abs(float(p))


def test_a03_one_drops_all_and_divides_by_nothing(run: Run) -> None:
    result = run(*APPLY, "-p", 1, "--json")
    images = result.json["files"][0]["tensors"][1]
    assert (images["rate"], images["after"]["zeros"], images["after"]["nan"]) == (1.0, 12, 0)


def test_a04_zero_is_the_identity(run: Run) -> None:
    for p in ("0", "-0.0"):
        assert run(*APPLY, "-fp", p, "--no-provenance", "-q").code == 0
        assert Path("y.safetensors").read_bytes() == Path("x.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["-x", "--", "-"])
def test_a12_names_that_look_like_options(run: Run, name: str) -> None:
    os.link("x.safetensors", name)
    assert (
        run("apply", f"./{name}", "-o", "y.safetensors", "--seed", 1, "--stream", "s", "-q").code
        == 0
    )
    assert run("info", f"./{name}").code == 0
    run("apply", "x.safetensors", "-o", "z.safetensors", "--seed", 1, "--stream", "s", "-q")
    assert Path("y.safetensors").read_bytes() == Path("z.safetensors").read_bytes()
    # After `--` all are names; only `-` keeps its meaning.
    assert run("apply", "-qo", "w.pt", "--", name).code == (1 if name == "-" else 0)


def test_a14_a_pipe_is_written_and_a_socket_is_not(refuse: Refuse) -> None:
    os.mkfifo("pipe")
    run = "dropcli apply x.safetensors -o pipe -q --seed 1"
    assert shell(f"cat pipe > got & {run}; wait").returncode == 0
    assert load_file("got")["labels"].tolist() == [0, 1, 2, 3]
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
        assert "got a device" in refuse("apply", "x.safetensors", "-fo", "socket")
        assert refuse("apply", "socket", "-o", "y.pt").startswith("error: socket: ")
    os.mkdir("folder")
    os.mkdir("folder/x.safetensors")
    assert "got a folder" in refuse("apply", "x.safetensors", "-fo", "folder")


def test_a13_a_bind_mount_of_the_input_is_the_input(refuse: Refuse) -> None:
    Path("mounted").touch()
    if shell("mount --bind x.safetensors mounted").returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert "same file" in refuse("apply", "x.safetensors", "-fo", "mounted", code=2)
    finally:
        shell("umount mounted")


def test_a19_lists_longer_than_a_command_line(run: Run) -> None:
    path = "./" * 30 + "x.safetensors"
    Path("list").write_text((path + "\0") * 30_000)  # more than 2 MB
    assert run("apply", "--files-from", "list", "-0", "-o", "out", "-q").code == 0
    assert sorted(os.listdir("out")) == ["dropcli.jsonl", "x.safetensors"]


def test_a20_no_pattern_takes_long(refuse: Refuse) -> None:
    save_file({"a" * 100_000: torch.rand(3)}, "long.safetensors")
    started = time.monotonic()
    for pattern in ("*a" * 100 + "*b", "*[!b]*[a]" * 20 + "b", "?" * 50_000 + "*b"):
        refuse("apply", "long.safetensors", "-o", "y.safetensors", "-k", pattern)
    assert time.monotonic() - started < 10


def test_a21_more_workers_than_files(run: Run) -> None:
    for number in range(3):
        save_file({"x": torch.rand(9)}, f"{number}.safetensors")
    assert run("apply", "[0-9].safetensors", "-o", "out", "-j", 999_999, "-q").code == 0
    assert len(os.listdir("out")) == 4


def test_a23_a_terminal_for_an_input_is_not_waited_for() -> None:
    ours, theirs = pty.openpty()
    before = snapshot()
    command = [sys.executable, "-m", "dropcli", "apply", "-", "-o", "y.pt"]
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, timeout=30, check=False
    )
    os.close(ours)
    os.close(theirs)
    error = check_refusal(before, 2, done.returncode, done.stdout, done.stderr)
    assert "expected a tensor file, got a terminal" in error
