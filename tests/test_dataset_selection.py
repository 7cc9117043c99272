"""Datasets: the summary for each tensor name, and files in which nothing drops."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import labelled, sample, tree
from tests.conftest import Run

SETTINGS = ("-p", 0.5, "--seed", 7)


def images(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": torch.ones(2, 3, dtype=torch.uint8)}, path)


def cells(text: str, name: str) -> list[str]:
    """The row of a tensor name in the summary."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()


def warnings(document: Any) -> dict[str, tuple[str, int]]:
    return {item["code"]: (item["message"], item["files"]) for item in document["warnings"]}


def test_a_row_for_each_tensor_name(run: Run) -> None:
    for number in range(3):
        labelled(f"data/{number}.safetensors", ids=torch.arange(8))
    labelled("data/other.safetensors", emb2=torch.ones(8, 2))
    result = run("apply", "data", "-o", "out", *SETTINGS, "-j", 1)
    assert result.code == 0
    dropped = sum(
        int((load_file(f"out/{path.name}")["emb"] == 0).sum()) for path in Path("data").iterdir()
    )
    row = cells(result.out, "emb")
    assert row[1:4] == ["4", "128", str(dropped)]
    deviations = (dropped - 64) / math.sqrt(128 * 0.5 * 0.5)
    assert row[4:] == ["0.5", f"{dropped / 128:.4g}", f"{deviations:+.1f}", "sd"]
    assert cells(result.out, "label")[1:] == ["4", "named", "like", "a", "label"]
    assert cells(result.out, "ids")[1:] == ["3", "I64"]
    assert cells(result.out, "emb2")[1] == "1"


def test_numbers_in_names_are_in_order(run: Run) -> None:
    names = [f"layers.{number}.x" for number in (0, 1, 2, 10, 11, 100)]
    for number, name in enumerate(reversed(names)):
        labelled(
            f"data/{number}.safetensors", **{name: torch.ones(2, 2), "layers.3": torch.ones(8)}
        )
    words = run("apply", "data", "-o", "out", *SETTINGS, "-k", "layers*.x").out.split()
    shown = [word for word in words if word.startswith("layers.")]
    assert shown == [*names, "layers.3"]  # which is copied


def test_the_rows_do_not_depend_on_workers(run: Run) -> None:
    for number in range(150):
        labelled(f"data/{number}.safetensors", **{f"t{number}": torch.ones(2, 2)})
    whole = run("apply", "data", "-o", "a", *SETTINGS, "-j", 1, "-v")
    again = run("apply", "data", "-o", "b", *SETTINGS, "-j", 2, "-v")
    assert cells(whole.out, "emb") == cells(again.out, "emb")
    assert cells(whole.out, "t149") == cells(again.out, "t149")
    brief = run("apply", "data", "-o", "c", *SETTINGS, "-j", 1).out
    assert "132 more names; -v shows all" in brief


def test_names_beyond_the_first_thousand_have_one_row(run: Run) -> None:
    for number in range(2):
        path = Path(f"data/{number}.safetensors")
        path.parent.mkdir(exist_ok=True)
        save_file({f"x{number}.{i:04}": torch.ones(1, 1) for i in range(600)}, path)
    both = [
        run("apply", "data", "-o", f"out{jobs}", *SETTINGS, "-j", jobs, "-v") for jobs in (1, 2)
    ]
    for result in both:
        assert cells(result.out, "(all")[-7:-5] == ["200", "200"]
        assert cells(result.out, "x1.0399")[1] == "1"
        assert "x1.0400" not in result.out


def test_warnings_name_each_tensor_once(run: Run) -> None:
    for number in range(5):
        labelled(f"data/{number}.safetensors")
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    message, files = warnings(result.json)["looks-like-label"]
    assert ("'label'" in message, files) == (True, 5)
    assert result.err.count("'label'") == 1
    assert f"warning: 5 files: {message}" in result.err
    one = run("apply", "data/0.safetensors", "data/1.safetensors", "-o", "few", *SETTINGS)
    assert f"warning: 2 files: {message}" in one.err
    keys = list(result.json)
    assert keys[keys.index("files") :] == ["files", "warnings", "errors"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_without_a_selected_tensor_are_copied_and_named(run: Run, jobs: int) -> None:
    sample("data/a.safetensors")
    images("data/b.safetensors")
    images("data/c.safetensors")
    result = run("apply", "data", "-o", "out", *SETTINGS, "-j", jobs, "--json")
    assert (result.code, result.json["status"]) == (0, "success")
    assert torch.equal(load_file("out/b.safetensors")["images"], torch.ones(2, 3).byte())
    message, files = warnings(result.json)["nothing-selected"]
    assert (files, "'images' (U8)" in message) == (2, True)
    assert f"warning: 2 files: {message}" in result.err
    table = run("apply", "data", "-o", "table", *SETTINGS, "-j", jobs)
    assert "nothing selected  in 2 files, copied" in table.out
    assert run("verify", "out", "--source", "data", "-q").code == 0


@pytest.mark.parametrize("more", [(), ("-q",), ("--copies", 2), ("--copies", 2, "--keep-original")])
def test_a_run_that_selects_nothing_fails_after_its_copies_are_written(
    run: Run, more: tuple[object, ...]
) -> None:
    for name in "ab":
        images(f"data/{name}.safetensors")
    result = run("apply", "data", "-o", "out", *SETTINGS, *more)
    assert result.code == 1
    assert len(tree("out")) == 2 * (
        3 if "--keep-original" in more else 2 if more[:1] == ("--copies",) else 1
    )
    assert "-k images --no-rescale" in result.err
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json", "-f")
    assert (result.code, result.json["status"]) == (1, "error")
    assert [error["code"] for error in result.json["errors"]] == ["nothing-selected"]
    assert len(result.json["files"]) == 2


def test_dry_runs_warn_too(run: Run) -> None:
    images("data/a.safetensors")
    images("data/b.safetensors")
    result = run("apply", "data", "-o", "out", *SETTINGS, "-n")
    assert result.code == 1
    assert not Path("out").exists()


def test_in_place(run: Run) -> None:
    images("data/a.safetensors")
    sample("data/b.safetensors")
    result = run("apply", "data", "--in-place", *SETTINGS, "--json")
    assert (result.code, warnings(result.json)["nothing-selected"][1]) == (0, 1)
    Path("data/b.safetensors").unlink()
    images("data/c.safetensors")
    result = run("apply", "data", "--in-place", "-p", 0.5, "--seed", 8)
    assert result.code == 1
    assert load_file("data/a.safetensors")["images"].all()


def test_concat(run: Run) -> None:
    """Files without a selected tensor are copied unchanged, the others are concatenated."""
    sample("data/a.safetensors")
    images("data/b.safetensors")
    options = ("--copies", 2, "--concat", *SETTINGS)
    result = run("apply", "data", "-o", "out", *options, "--json")
    assert (result.code, warnings(result.json)["nothing-selected"][1]) == (0, 1)
    assert load_file("out/a.safetensors")["x"].shape == (8, 5)
    assert load_file("out/b.safetensors")["images"].shape == (2, 3)
    assert run("verify", "out", "--source", "data", "-q").code == 0
    Path("data/a.safetensors").unlink()
    assert run("apply", "data", "-o", "none", *options).code == 1


@pytest.mark.parametrize("nothing", [("-p", 0), ("--eval",)])
def test_requests_that_drop_nothing_are_no_error(run: Run, nothing: tuple[object, ...]) -> None:
    images("data/a.safetensors")
    images("data/b.safetensors")
    result = run("apply", "data", "-o", "out", *nothing, "--json")
    assert (result.code, result.json["warnings"]) == (0, [])


def test_resume_with_nothing_left(run: Run) -> None:
    for name in "ab":
        images(f"data/{name}.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS).code == 1
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume").code == 0
    images("data/c.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume").code == 1
    sample("data/d.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume").code == 0
    images("data/e.safetensors")  # others were dropped before
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume").code == 0


def test_failures_beside_files_without_a_selected_tensor(run: Run) -> None:
    images("data/a.safetensors")
    Path("data/b.safetensors").write_bytes(b"no")
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.json["status"]) == (1, "error")
    sample("data/c.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS, "-f").code == 3


def test_statistics_have_the_document(run: Run) -> None:
    images("data/a.safetensors")
    images("data/b.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS, "-q", "--stats", "s.json").code == 1
    document = json.loads(Path("s.json").read_text())
    assert (document["status"], warnings(document)["nothing-selected"][1]) == ("error", 2)
