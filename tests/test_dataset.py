"""Whole datasets: which files are found, and the names and places of outputs."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import oracle
from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run


def test_a_folder_is_mirrored_and_others_are_left_and_counted(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert result.code == 0
    assert result.json["status"] == "success"
    assert [file["status"] for file in result.json["files"]] == ["written"] * 6
    assert set(tree("out")) == {name for name in tree("data") if name.endswith(("pt", "tensors"))}
    for name, x in data.items():
        path = next(Path("out").glob(f"{name}.[ps]*"))
        y = (torch.load(path) if path.suffix == ".pt" else load_file(path))["x"]
        drop = oracle.dropped(x.shape, 0.3, oracle.key(7, name, "x"))
        assert oracle.equal_bits(y, oracle.dropout(x, drop, 0.3))

    shown = run("apply", "data", "-o", "out2", *SETTINGS).out
    assert "written  6 files" in shown
    assert "ignored  2 files of other kinds" in shown


def test_other_files_are_copied_on_request(run: Run, data: dict[str, torch.Tensor]) -> None:
    result = run("apply", "data", "-o", "out", *SETTINGS, "--copy-others", "--json")
    assert set(tree("out")) == set(tree("data"))
    assert Path("out/readme.txt").read_text() == "hello"
    assert len(result.json["files"]) == 8


def test_damaged_files_fail_alone(run: Run, data: dict[str, torch.Tensor]) -> None:
    whole = Path("data/train/0.safetensors").read_bytes()
    Path("data/train/0.safetensors").write_bytes(whole[:-3])
    Path("data/empty.pt").touch()
    os.mkdir("data/z.pt")
    for jobs in (1, 2):
        result = run("apply", "data", "-o", f"out{jobs}", *SETTINGS, "--json", "-j", jobs)
        assert result.code == 3
        assert result.json["status"] == "partial"
        assert [(e["source"], e["code"]) for e in result.json["errors"]] == [
            ("data/empty.pt", "truncated-header"),
            ("data/train/0.safetensors", "truncated-data"),
        ]
        assert len(tree(f"out{jobs}")) == 5
        *_, first, _, second, _ = result.err.splitlines()
        assert first.startswith("error: data/empty.pt: ")
        assert second.startswith("error: data/train/0.safetensors: ")

    result = run("apply", "data/empty.pt", "data/train/0.safetensors", "-o", "none", "--json")
    assert (result.code, result.json["status"]) == (1, "error")
    assert not tree("none")
    assert not Path("none/dropcli.jsonl").exists()


def test_fail_fast_stops_at_the_first(run: Run) -> None:
    for number in range(20):
        sample(f"data/{number:02}.pt", number)
    Path("data/03.pt").write_bytes(b"")
    result = run("apply", "data", "-o", "out", "--fail-fast", "--json", "-j", 1)
    assert result.code == 3
    assert len(result.json["errors"]) == 1
    assert len(tree("out")) == 3


def test_a18_a22_unreadable_folders_and_missing_files_are_failures(run: Run) -> None:
    sample("a.pt")
    result = run("apply", "a.pt", "missing.pt", "-o", "out", "--json")
    assert result.code == 3
    assert result.json["errors"][0]["source"] == "missing.pt"
    for inputs, exit_code, code in (
        (("none*.pt",), 1, "no-match"),
        (("a.pt", "-"), 2, "standard-input"),
        (("empty",), 1, "no-files"),
    ):
        Path("empty").mkdir(exist_ok=True)
        result = run("apply", *inputs, "-o", "other", "--json")
        assert (result.code, result.errors) == (exit_code, [code])
        assert not Path("other").exists()


def test_in_place_over_a_folder(run: Run, data: dict[str, torch.Tensor]) -> None:
    run("apply", "data", "-o", "out", *SETTINGS)
    shutil.copytree("data", "other")
    result = run("apply", "data", "--in-place", *SETTINGS)
    assert result.code == 0
    assert "replaced  6 files" in result.out
    assert tree("data") == tree("out") | {
        name: tree("other")[name] for name in ("readme.txt", "train/classes.json")
    }
    again = run("apply", "data", "--in-place", "--resume", *SETTINGS)
    assert "skipped   6 files, done before" in again.out
    assert tree("data")["a.pt"] == tree("out")["a.pt"]

    os.symlink("b.safetensors", "other/c.safetensors")
    result = run("apply", "other", "--in-place", "--json")
    assert (result.code, result.errors) == (2, ["collision"])
    assert all(f"'other/{name}.safetensors'" in result.err for name in "bc")


def test_a_dry_run_writes_nothing_and_plans_everything(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    before = tree(".")
    result = run("apply", "data", "-o", "out", "--copies", 2, "-n", *SETTINGS, "--json")
    assert tree(".") == before
    assert not Path("out").exists()
    assert [file["output"] for file in result.json["files"]][:2] == ["out/a.1.pt", "out/a.2.pt"]
    assert {file["status"] for file in result.json["files"]} == {"planned"}
    rows = [tensor for file in result.json["files"] for tensor in file["tensors"]]
    assert all((row["dropped"] is None) == (row["action"] == "dropped") for row in rows)
    run("apply", "data", "-o", "out", "--copies", 2, *SETTINGS)
    sizes = {file["output"]: file["bytes"] for file in result.json["files"]}
    assert sizes == {f"out/{name}": len(data) for name, data in tree("out").items()}

    Path("out/a.1.pt").unlink()
    shown = run("apply", "data", "-o", "out", "--copies", 2, *SETTINGS, "-n", "--resume").out
    assert "would write  1 file" in shown
    assert "skipped      11 files, done before" in shown
    assert run("apply", "data", "-o", "out", "--copies", 2, "-n", *SETTINGS).code == 1

    Path("other/train").mkdir(parents=True)
    Path("other/train/1.pt").write_text("not ours")
    Path("other/val").write_text("a file where a folder should be")
    for dry in (("-n",), ()):
        result = run("apply", "data", "-o", "other", *SETTINGS, "--resume", "--json", *dry)
        assert result.code == 3
        assert [error["source"] for error in result.json["errors"]] == [
            "other/train/1.pt",
            "other/val/0.safetensors",
        ]


def test_statistics_of_many_files(run: Run, data: dict[str, torch.Tensor]) -> None:
    document = run("apply", "data", "-o", "out", *SETTINGS, "--json").json
    for suffix in ("json", "jsonl", "csv"):
        run("apply", "data", "-o", f"o-{suffix}", *SETTINGS, "--stats", f"s.{suffix}", "-q")
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert [line["tensors"] for line in lines] == [file["tensors"] for file in document["files"]]
    assert json.loads(Path("s.json").read_text())["settings"] == document["settings"]
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    dropped = sum(int(row["dropped"]) for row in rows)
    decisions = sum(int(row["decisions"]) for row in rows)
    shown = run("apply", "data", "-o", "out2", *SETTINGS).out
    assert f"{dropped} of {decisions} decisions" in shown
    assert f"rate     {dropped / decisions:.6f} (p " in shown


@pytest.mark.parametrize("option", ["--resume", "--fail-fast", "--copy-others"])
def test_options_that_need_several_files(run: Run, option: str) -> None:
    sample("a.safetensors")
    result = run("apply", "a.safetensors", "-o", "b.safetensors", option, "--json")
    assert (result.code, result.errors) == (2, ["one-file"])
    assert run("apply", "a.safetensors", "-o", "out/", option).code == 0
