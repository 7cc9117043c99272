"""The command line: strict values, exit codes, one-line errors."""

import importlib.metadata
import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dropcli.native import is_available
from tests.conftest import Run, shell

APPLY = ("apply", "x.safetensors", "-o", "y.safetensors")


@pytest.fixture(autouse=True)
def _x() -> None:
    save_file({"images": torch.rand(4, 3), "labels": torch.arange(4)}, "x.safetensors")


def test_standard_output_has_one_use(run: Run) -> None:
    result = run("apply", "x.safetensors", "-o", "-", "--json")
    assert (result.code, result.errors) == (2, ["two-on-stdout"])


def test_help_shows_examples_first_and_wins_over_mistakes(run: Run) -> None:
    for arguments in (["-h"], ["--help"], ["apply", "-h"], ["info", "--help"]):
        result = run(*arguments)
        assert re.search(r"^Examples:\n  dropcli .*\n  dropcli ", result.out, re.MULTILINE)
        assert result.code == 0
        assert result.err == ""
        assert 0 < result.out.index("Examples:") < result.out.index("Options:")
    assert run("apply", "-p", "7", "-p", "8", "--help").code == 0


def test_no_arguments_show_help(run: Run) -> None:
    result = run()
    assert (result.code, result.out) == (2, "")
    assert "Usage: dropcli" in result.err


def test_version_and_kernel(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version("dropcli")
    kernel = "native" if is_available() else "numpy"
    result = run("--version")
    text = "dropcli {} (masks dropcli/1, kernel {})\n"
    assert (result.code, result.out) == (0, text.format(version, kernel))
    monkeypatch.setenv("DROPCLI_KERNEL", "numpy")
    assert run("--version").out == text.format(version, "numpy")


def test_a12_options_work_before_and_after_and_dashes_end_them(run: Run) -> None:
    save_file({"x": torch.ones(3)}, "-x.safetensors")
    assert run("apply", "-q", "-o", "y.pt", "--", "-x.safetensors").code == 0
    assert run("apply", "./-x.safetensors", "-q", "-o", "z.pt").code == 0


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_scripts_are_shown(shell_name: str) -> None:
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
def test_e01_closed_streams_never_harm_the_output(stream: str) -> None:
    shell(f"dropcli apply x.safetensors -o y.safetensors --seed 1 {stream}")
    shell("dropcli apply x.safetensors -o z.safetensors --seed 1")
    assert Path("y.safetensors").read_bytes() == Path("z.safetensors").read_bytes()


def test_e01_a_full_standard_output_is_an_error() -> None:
    for command in ("apply x.safetensors -o y.safetensors", "info x.safetensors --json"):
        done = shell(f"dropcli {command} > /dev/full")
        assert done.returncode == 1
        assert done.stderr == b"error: standard output: no space left on device\n"


def test_f14_names_that_are_no_unicode() -> None:
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


def test_a11_what_is_meant_is_suggested(run: Run) -> None:
    for arguments, hint in (
        ((*APPLY, "-p", "30"), "did you mean 0.3?"),
        ((*APPLY, "-p", "0,5"), "did you mean 0.5?"),
        ((*APPLY, "--mode", "chanel"), "did you mean channel?"),
        ((*APPLY, "-k", "image"), "did you mean 'images'?"),
        ((*APPLY, "-k", "images,labels"), "give each pattern its own --key"),
        (("x.safetensors",), "dropcli apply x.safetensors -o OUTPUT"),
    ):
        assert run(*arguments).err.splitlines()[1] == f"hint: {hint}"


def test_errors_keep_their_exit_code_where_standard_error_is_closed() -> None:
    for command, code in (
        ("dropcli apply 2>/dev/full", 2),
        ("dropcli apply missing -o y.pt --json >/dev/full", 1),
        ("dropcli --help >/dev/full", 1),
        ("dropcli apply x.safetensors -fqo y.safetensors --no-provenance 2>/dev/full", 0),
    ):
        done = shell(command)
        assert done.returncode == code, command
        assert b"Traceback" not in done.stderr
    done = shell("set -o pipefail; dropcli apply missing -o y.pt --json | true")
    assert b"Traceback" not in done.stderr
