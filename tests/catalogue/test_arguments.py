"""Bad-input cases A01 to A25: arguments."""

import os
import pty
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run, processor_seconds, shell
from tests.refusal import Refuse, check_refusal, snapshot

APPLY = ("apply", "x.safetensors", "-o", "y.safetensors")

# An id perhaps and the words of a command, of APPLY where they begin with an option -> the exit
# code, the error's code, and what the error must name.
WRONG = {
    "A01 -p nan": (2, "bad-p", "'nan'"),
    "A02 -p 0_1": (2, "bad-p", "'0_1'"),
    "A04 -p 1e-400": (2, "bad-p", "'1e-400'"),
    "A04 -p 1e-99999999999999999999": (2, "bad-p", "'1e-99999999999999999999'"),
    "A05 -p 1.0000000000000001": (2, "bad-p", "'1.0000000000000001'"),
    "A05 -p 0.99999999999999999999": (2, "bad-p", "'0.99999999999999999999'"),
    "A06 -p -0.1": (2, "bad-p", "'-0.1'"),
    "A06 -p 1.5": (2, "bad-p", "'1.5'"),
    "A06 -p 50%": (2, "bad-p", "'50%'"),
    "A06 -p 1/2": (2, "bad-p", "'1/2'"),
    "A06 -p 0,5": (2, "bad-p", "'0,5'"),
    "A06 -p True": (2, "bad-p", "'True'"),
    "A06 -p ''": (2, "bad-p", "''"),
    "A06 -p ' 0.5'": (2, "bad-p", "' 0.5'"),
    "A06 -p ٠.٥": (2, "bad-p", "'٠.٥'"),
    "A06 -p inf": (2, "bad-p", "'inf'"),
    "A07 --seed -1": (2, "bad-seed", "'-1'"),
    "A07 --seed 18446744073709551616": (2, "bad-seed", "'18446744073709551616'"),
    "A07 --seed 5.0": (2, "bad-seed", "'5.0'"),
    "A07 --seed 1_000": (2, "bad-seed", "'1_000'"),
    "A07 --seed 0x10": (2, "bad-seed", "'0x10'"),
    "A07 --seed " + "9" * 5000: (2, "bad-seed", "9" * 500),
    "--fill nan": (2, "bad-fill", "'nan'"),
    "--fill 1e999": (2, "bad-fill", "'1e999'"),
    "--fill 100000000000000000000 -k labels --no-rescale": (1, "bad-fill", "'labels'"),
    "--over ''": (2, "bad-over", "''"),
    "--over 0,,1": (2, "bad-over", "'0,,1'"),
    "--over 0:0": (2, "bad-over", "'0:0'"),
    "--over 0,0": (2, "bad-over", "'0,0'"),
    "--over a": (2, "bad-over", "'a'"),
    "A11 --mode chanel": (2, "bad-mode", "'chanel'"),
    "--mode pixels": (2, "bad-mode", "'pixels'"),
    "--mode channel --over 0": (2, "mode-and-over", "--over 0"),
    "--stream ''": (2, "empty-stream", "--stream"),
    "A10 -p .1 -p .2": (2, "given-twice", "-p"),
    "A10 -o z": (2, "given-twice", "-o"),
    "A10 --rescale --no-rescale": (2, "given-twice", "--rescale"),
    "A24 -q -v": (2, "quiet-and-verbose", "-v"),
    "--in-place": (2, "two-outputs", "--in-place"),
    "A11 --sed 1": (2, "usage", "no such option: --sed"),
    "--stats s.txt": (2, "bad-stats", "'s.txt'"),
    "A09 -k x --stats ''": (2, "empty-path", ""),
    "A09 apply x.safetensors -o ''": (2, "empty-path", ""),
    "A09 apply '' -o y.pt": (2, "empty-path", ""),
    "A09 info ''": (2, "empty-path", ""),
    "apply": (2, "no-input", "INPUT"),
    "info": (2, "usage", "FILE"),
    "A11 agument x": (2, "usage", "'agument'"),
    "apply x.safetensors": (2, "no-output", ""),
    "apply x.safetensors -o no": (2, "no-suffix", "'no'"),
    "apply x.safetensors -o no.npz": (2, "foreign-suffix", "'no.npz'"),
    "apply - --in-place": (2, "in-place-pipe", "--in-place"),
    "apply missing -o y.safetensors": (1, "os-error", "missing"),
    "apply . -o y.safetensors": (2, "not-a-folder", "'y.safetensors'"),
    "apply x.safetensors -o no/y.pt": (1, "no-folder", "no/y.pt"),
    "A25 -k image": (1, "no-match", "'image'"),
    "A25 --exclude *x": (1, "no-match", "'*x'"),
    "A20 -k (a+)+$": (1, "no-match", "'(a+)+$'"),
    "A20 -k " + "*i" * 40 + "*b": (1, "no-match", "*i*i"),
    "-k labels": (1, "integer-rescale", "'labels'"),
    "A21 -j 0": (2, "bad-count", "'0'"),
    "A21 -j -1": (2, "bad-count", "'-1'"),
    "A21 -j auto": (2, "bad-count", "'auto'"),
    "A22 apply - - -o y": (2, "standard-input", "-"),
    "A22 apply x.safetensors - -o y": (2, "standard-input", "-"),
    "A18 apply no*.pt -o y": (1, "no-match", "no*.pt"),
}


@pytest.fixture(autouse=True)
def _x() -> None:
    save_file({"images": torch.rand(4, 3), "labels": torch.arange(4)}, "x.safetensors")


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[:60])
def test_wrong(refuse: Refuse, case: str) -> None:
    exit_code, code, named = WRONG[case]
    words = shlex.split(re.sub(r"^[A-Z]\d\d ", "", case))
    refusal = refuse(*(APPLY if words[0].startswith("-") else ()), *words, exit_code=exit_code)
    assert refusal.code == code
    assert named in refusal.line


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
        assert refuse("apply", "x.safetensors", "-fo", "socket").code == "not-a-file"
        assert refuse("apply", "socket", "-o", "y.pt").line.startswith("socket: ")
    os.mkdir("folder")
    os.mkdir("folder/x.safetensors")
    assert refuse("apply", "x.safetensors", "-fo", "folder").code == "is-a-directory"


def test_a13_a_bind_mount_of_the_input_is_the_input(refuse: Refuse) -> None:
    Path("mounted").touch()
    if shell("mount --bind x.safetensors mounted").returncode:
        pytest.skip("mounting is not allowed here")
    try:
        refusal = refuse("apply", "x.safetensors", "-fo", "mounted", exit_code=2)
        assert refusal.code == "same-file"
    finally:
        shell("umount mounted")


def test_a19_lists_longer_than_a_command_line(run: Run) -> None:
    path = "./" * 30 + "x.safetensors"
    Path("list").write_text((path + "\0") * 30_000)  # more than 2 MB
    assert run("apply", "--files-from", "list", "-0", "-o", "out", "-q").code == 0
    assert sorted(os.listdir("out")) == ["dropcli.jsonl", "x.safetensors"]


def test_a20_no_pattern_takes_long(refuse: Refuse) -> None:
    save_file({"a" * 100_000: torch.rand(3)}, "long.safetensors")
    started = processor_seconds()
    for pattern in ("*a" * 100 + "*b", "*[!b]*[a]" * 20 + "b", "?" * 50_000 + "*b"):
        refuse("apply", "long.safetensors", "-o", "y.safetensors", "-k", pattern)
    assert processor_seconds() - started < 10


def test_a21_more_workers_than_files(run: Run) -> None:
    for number in range(3):
        save_file({"x": torch.rand(9)}, f"{number}.safetensors")
    assert run("apply", "[0-9].safetensors", "-o", "out", "-j", 999_999, "-q").code == 0
    assert len(os.listdir("out")) == 4


def test_a23_a_terminal_for_an_input_is_not_waited_for() -> None:
    ours, theirs = pty.openpty()
    before = snapshot()
    command = [sys.executable, "-m", "dropcli", "apply", "-", "-o", "y.pt", "--json"]
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, timeout=30, check=False
    )
    os.close(ours)
    os.close(theirs)
    refusal = check_refusal(before, 2, done.returncode, done.stdout, done.stderr)
    assert refusal.code == "stdin-is-a-terminal"
