"""The command line: strict values, exit codes, one-line errors."""

import importlib.metadata
import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Run, shell

APPLY = ("apply", "x.safetensors", "-o", "y.safetensors")

# arguments, exit code, the error line (a part of it)
WRONG = [
    ((*APPLY, "-p", "nan"), 2, "-p: expected a number from 0 to 1, got 'nan'"),
    ((*APPLY, "-p", "0_1"), 2, "got '0_1'"),
    ((*APPLY, "-p", "1.0000000000000001"), 2, "got '1.0000000000000001'"),
    ((*APPLY, "-p", "0.99999999999999999999"), 2, "rounds to 1"),
    ((*APPLY, "-p", "1e-400"), 2, "rounds to 0"),
    ((*APPLY, "-p", "1e-99999999999999999999"), 2, "expected a number"),
    ((*APPLY, "-p", "-0.1"), 2, "got '-0.1'"),
    ((*APPLY, "-p", "1.5"), 2, "got '1.5'"),
    ((*APPLY, "-p", "50%"), 2, "got '50%'"),
    ((*APPLY, "--fill", "1" + "0" * 20, "-k", "labels", "--no-rescale"), 1, "expected a fill from"),
    ((*APPLY, "--mode", "chanel"), 2, "--mode: expected element or channel, got 'chanel'"),
    (("apply", "x.safetensors", "-o", "no/"), 2, "-o: expected a folder, got 'no/'"),
    ((*APPLY, "-p", "1/2"), 2, "got '1/2'"),
    ((*APPLY, "-p", "0,5"), 2, "got '0,5'"),
    ((*APPLY, "-p", "True"), 2, "got 'True'"),
    ((*APPLY, "-p", ""), 2, "got ''"),
    ((*APPLY, "-p", " 0.5"), 2, "got ' 0.5'"),
    ((*APPLY, "-p", "٠.٥"), 2, "expected a number"),
    ((*APPLY, "-p", "inf"), 2, "got 'inf'"),
    ((*APPLY, "--seed", "-1"), 2, "--seed: expected an integer from 0 to 18446744073709551615"),
    ((*APPLY, "--seed", str(2**64)), 2, "--seed: expected"),
    ((*APPLY, "--seed", "5.0"), 2, "got '5.0'"),
    ((*APPLY, "--seed", "1_000"), 2, "got '1_000'"),
    ((*APPLY, "--seed", "0x10"), 2, "got '0x10'"),
    ((*APPLY, "--seed", "9" * 5000), 2, "--seed: expected"),
    ((*APPLY, "--fill", "nan"), 2, "--fill: expected a finite number, got 'nan'"),
    ((*APPLY, "--fill", "1e999"), 2, "got '1e999'"),
    ((*APPLY, "--over", ""), 2, "--over: expected dimensions"),
    ((*APPLY, "--over", "0,,1"), 2, "got '0,,1'"),
    ((*APPLY, "--over", "0:0"), 2, "where a block is empty"),
    ((*APPLY, "--over", "0,0"), 2, "stands twice"),
    ((*APPLY, "--over", "a"), 2, "got 'a'"),
    ((*APPLY, "--mode", "pixel"), 2, "--mode: "),
    ((*APPLY, "--mode", "channel", "--over", "0"), 2, "got both --mode channel and --over 0"),
    ((*APPLY, "--stream", ""), 2, "--stream: expected a name, got ''"),
    ((*APPLY, "-p", ".1", "-p", ".2"), 2, "-p: expected once, got it again"),
    ((*APPLY, "-o", "z"), 2, "-o: expected once"),
    ((*APPLY, "--rescale", "--no-rescale"), 2, "--rescale: expected once"),
    ((*APPLY, "-q", "-v"), 2, "expected -q or -v, got both"),
    ((*APPLY, "--in-place"), 2, "expected -o or --in-place, got both"),
    ((*APPLY, "--sed", "1"), 2, "no such option: --sed"),
    ((*APPLY, "--stats", "s.txt"), 2, "--stats: expected a name ending in"),
    (("apply", "x.safetensors"), 2, "expected an output, got none"),
    (("apply", "x.safetensors", "-o", ""), 2, "expected a path, got ''"),
    (("apply", "", "-o", "y"), 2, "expected a path, got ''"),
    (("info", ""), 2, "expected a path, got ''"),
    (("apply",), 2, "missing argument"),
    (("info",), 2, "missing argument"),
    (("agument", "x"), 2, "no such command"),
    (("apply", "-", "--in-place"), 2, "--in-place: expected a file"),
    (("apply", "missing", "-o", "y.safetensors"), 1, "missing: no such file or directory"),
    (("apply", ".", "-o", "y.safetensors"), 2, "-o: expected a folder for several files, got 'y.s"),
    (("apply", "x.safetensors", "-o", "no/y"), 1, "no/y: expected its folder to exist"),
    ((*APPLY, "-k", "image"), 1, "--key 'image': expected to match a tensor, got 'labels', 'im"),
    ((*APPLY, "--exclude", "*x"), 1, "--exclude '*x': expected to match a tensor"),
    ((*APPLY, "-k", "labels"), 1, "tensor 'labels': expected a floating dtype"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _x() -> None:
    save_file({"images": torch.rand(4, 3), "labels": torch.arange(4)}, "x.safetensors")


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=str)
def test_wrong(run: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    before = os.listdir()
    result = run(*arguments)
    assert result.code == code
    assert result.out == ""
    error, *hint = result.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert len(hint) <= 1
    assert not hint or hint[0].startswith("hint: ")
    assert os.listdir() == before


def test_standard_output_is_for_one_thing(run: Run) -> None:
    result = run("apply", "x.safetensors", "-o", "-", "--json")
    assert result.code == 2
    assert "expected one thing on standard output, got the tensors and --json" in result.err


@pytest.mark.parametrize("arguments", [arguments for arguments, _, _ in WRONG], ids=str)
def test_wrong_with_json_is_a_document(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--json")
    document = result.json
    assert document["status"] == "error"
    assert document["files"] == []
    (error,) = document["errors"]
    assert set(error) == {"source", "code", "message", "hint"}
    assert re.fullmatch(r"[a-z0-9-]+", error["code"])
    assert result.err.startswith("error: ")


@pytest.mark.parametrize("p", ["0", "1", "0.5", ".5", "1.", "5e-1", "+0.5", "-0.0", "0e5"])
def test_good_probabilities(run: Run, p: str) -> None:
    result = run(*APPLY, "-p", p, "--json")
    assert result.json["settings"]["p"] == abs(float(p))


def test_help_shows_examples_first_and_wins_over_mistakes(run: Run) -> None:
    for arguments in (["-h"], ["--help"], ["apply", "-h"], ["info", "--help"]):
        result = run(*arguments)
        assert re.search(r"^  Examples:\n    dropcli .*\n    dropcli ", result.out, re.MULTILINE)
        assert "\\b" not in result.out
        assert result.code == 0
        assert result.err == ""
        assert 0 < result.out.index("Examples:") < result.out.index("Options:")
    assert run("apply", "-p", "7", "-p", "8", "--help").code == 0


def test_no_arguments_is_help(run: Run) -> None:
    result = run()
    assert (result.code, result.out) == (2, "")
    assert "Usage: dropcli" in result.err


def test_version(run: Run) -> None:
    version = importlib.metadata.version("dropcli")
    result = run("--version")
    assert (result.code, result.out) == (0, f"dropcli {version} (masks dropcli/1)\n")


def test_options_work_before_and_after_and_dashes_end_them(run: Run) -> None:
    save_file({"x": torch.ones(3)}, "-x.safetensors")
    assert run("apply", "-q", "-o", "y", "--", "-x.safetensors").code == 0
    assert run("apply", "./-x.safetensors", "-q", "-o", "z").code == 0


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_scripts_are_there(shell_name: str) -> None:
    complete = shell("dropcli --show-completion", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert b"Traceback" not in complete.stderr
    source = shell("dropcli", _DROPCLI_COMPLETE=f"source_{shell_name}")
    assert source.returncode == 0
    assert b"_DROPCLI_COMPLETE" in source.stdout


def test_completion_completes_options() -> None:
    done = shell(
        "dropcli",
        _DROPCLI_COMPLETE="complete_bash",
        COMP_WORDS="dropcli apply --no-",
        COMP_CWORD="2",
    )
    assert b"--no-rescale" in done.stdout


@pytest.mark.parametrize("stream", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_never_harm_the_output(stream: str) -> None:
    shell(f"dropcli apply x.safetensors -o y.safetensors --seed 1 {stream}")
    shell("dropcli apply x.safetensors -o z.safetensors --seed 1")
    assert Path("y.safetensors").read_bytes() == Path("z.safetensors").read_bytes()


def test_a_full_standard_output_is_an_error() -> None:
    for command in ("apply x.safetensors -o y.safetensors", "info x.safetensors --json"):
        done = shell(f"dropcli {command} > /dev/full")
        assert done.returncode == 1
        assert done.stderr == b"error: standard output: no space left on device\n"


def test_names_that_are_no_unicode() -> None:
    name = b"x\xff[red]\n.safetensors"
    os.link("x.safetensors", name)
    done = shell(
        "dropcli apply x*red* -o y.safetensors --seed 1 --json; dropcli info x*red* >&2;"
        "dropcli apply x*red* -o y.safetensors"
    )
    assert b"Traceback" not in done.stderr
    assert b"\xff" not in done.stderr
    assert rb"[red]\n.safetensors" in done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert os.fsencode(file["source"]) == name
    assert os.fsencode(file["stream"]) == b"x\xff[red]\n"


def test_what_is_meant_is_suggested(run: Run) -> None:
    for arguments, hint in (
        ((*APPLY, "-p", "30"), "did you mean 0.3?"),
        ((*APPLY, "-p", "0,5"), "did you mean 0.5?"),
        ((*APPLY, "--mode", "chanel"), "did you mean channel?"),
        ((*APPLY, "-k", "image"), "did you mean 'images'?"),
        ((*APPLY, "-k", "images,labels"), "give each pattern an option of its own"),
        (("x.safetensors",), "dropcli apply x.safetensors -o OUTPUT"),
        (("apply", "x.safetensors", "-o", "no/"), "mkdir -p no/"),
    ):
        assert run(*arguments).err.splitlines()[1] == f"hint: {hint}"


def test_errors_that_nobody_hears_keep_their_exit_code() -> None:
    for command, code in (
        ("dropcli apply 2>/dev/full", 2),
        ("dropcli apply missing -o y --json >/dev/full", 1),
        ("dropcli --help >/dev/full", 1),
        ("dropcli apply x.safetensors -fqo y.safetensors --no-provenance 2>/dev/full", 0),
    ):
        done = shell(command)
        assert done.returncode == code, command
        assert b"Traceback" not in done.stderr
    done = shell("set -o pipefail; dropcli apply missing -o y --json | true")
    assert b"Traceback" not in done.stderr
