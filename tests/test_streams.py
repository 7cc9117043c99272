"""Files that would get the same masks, because they have the same name in mask keys."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dropcli
from tests.conftest import Run, codes, shell


@pytest.fixture(autouse=True)
def x() -> torch.Tensor:
    tensor = torch.rand(9, 9) + 1
    save_file({"x": tensor}, "x.safetensors")
    torch.save({"x": tensor}, "x.pt")
    return tensor


def test_pipes_with_one_seed_give_a_warning() -> None:
    for words, noticed in (
        ("--seed 1", True),
        ("", False),
        ("--seed 1 --stream a", False),
        ("--seed 1 --eval", False),
    ):
        done = shell(f"cat x.pt | dropcli apply - -o y.pt -f --json {words}")
        assert done.returncode == 0
        assert codes(done.stdout, "warnings") == ["stream-of-pipe"] * noticed, words
    done = shell("dropcli apply <(cat x.pt) -o y.pt -f --seed 1 --json")
    assert codes(done.stdout, "warnings") == ["stream-of-pipe"]
    done = shell("dropcli apply x.pt -o y.pt -f --seed 1 --json")
    assert codes(done.stdout, "warnings") == []


def test_files_with_one_stream_give_a_warning(run: Run) -> None:
    result = run("apply", "x.pt", "x.safetensors", "-o", "out", "--seed", 1, "--json")
    assert (result.code, result.warnings) == (0, ["same-stream"])
    assert all(name in result.err for name in ("'x.pt'", "'x.safetensors'", "'x'"))
    Path("x.pt").rename("z.pt")
    again = run("apply", "z.pt", "x.safetensors", "-o", "two", "--seed", 1, "--json")
    assert again.warnings == []


def test_the_document_of_a_pipe_has_the_warning() -> None:
    done = shell("cat x.pt | dropcli apply - -o y.pt --seed 1 --json -q | grep -c stream-of-pipe")
    assert (done.stdout, done.stderr) == (b"1\n", b"")


def test_copies_of_one_file_give_no_warning(run: Run) -> None:
    result = run("apply", "x.pt", "-o", "out", "--copies", 3, "--keep-original", "--json")
    assert (result.code, result.json["warnings"]) == (0, [])


@pytest.mark.parametrize("nothing", [("-p", 0), ("--eval",)])
def test_no_warning_if_nothing_drops(run: Run, nothing: tuple[object, ...]) -> None:
    result = run("apply", "x.pt", "x.safetensors", "-o", "out", *nothing, "--json")
    assert (result.code, result.json["warnings"]) == (0, [])


def test_the_same_warning_in_python() -> None:
    Path("a").mkdir()
    report = dropcli.apply(["x.pt", "x.safetensors"], "a", seed=1)
    (warning,) = report.document()["warnings"]
    assert warning["code"] == "same-stream"


def test_several_folders_keep_files_of_one_name_apart(run: Run) -> None:
    for folder in ("train", "val"):
        Path(folder).mkdir()
        save_file({"x": torch.ones(9, 9)}, f"{folder}/0.safetensors")
    result = run("apply", "train", "val", "-o", "out", "--seed", 1, "--json")
    assert result.json["warnings"] == []
    assert (
        Path("out/train/0.safetensors").read_bytes() != Path("out/val/0.safetensors").read_bytes()
    )
