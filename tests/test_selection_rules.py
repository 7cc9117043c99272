"""The rule by which tensors are selected: recorded, verified, and not mixed in one folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dropcli
from tests.builders import labelled
from tests.conftest import Run, header_of


def test_the_rule_is_recorded_and_verified(run: Run) -> None:
    save_file({"x": torch.rand(9, 9), "label": torch.rand(9, 9)}, "x.safetensors")
    for option, rule in (((), "data/1"), (("--all-floats",), "all"), (("-k", "x"), "data/1")):
        run("apply", "x.safetensors", "-fo", "y.safetensors", "--seed", 1, *option)
        entry = json.loads(header_of("y.safetensors")["__metadata__"]["dropcli"])[0]
        assert entry["settings"]["select"] == rule
        assert run("verify", "y.safetensors", "--source", "x.safetensors").code == 0


def test_outputs_from_before_the_rules_are_verified(run: Run) -> None:
    """Their provenance has no rule, and all their float tensors are dropped."""
    tensors = {"x": torch.rand(9, 9), "label": torch.rand(9, 9)}
    save_file(tensors, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--all-floats")
    header = header_of("y.safetensors")
    entries = json.loads(header["__metadata__"]["dropcli"])
    del entries[0]["settings"]["select"]
    header["__metadata__"]["dropcli"] = json.dumps(entries, separators=(",", ":"))
    shutil.copy("y.safetensors", "old.safetensors")
    data = Path("y.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    written = data[8 : 8 + length].decode()
    old = written.replace('\\"select\\":\\"all\\",', "").replace('\\"select\\": \\"all\\", ', "")
    assert old.rstrip() != written.rstrip()
    old = old.rstrip() + " " * (-len(old.rstrip()) % 8)
    Path("old.safetensors").write_bytes(
        len(old).to_bytes(8, "little") + old.encode() + data[8 + length :]
    )
    assert run("info", "old.safetensors").code == 0
    assert run("verify", "old.safetensors", "--source", "x.safetensors").code == 0
    damaged = bytearray(Path("old.safetensors").read_bytes())
    damaged[-1] ^= 1
    Path("old.safetensors").write_bytes(damaged)
    assert run("verify", "old.safetensors", "--source", "x.safetensors").code == 4


def test_python_has_the_same_rule() -> None:
    save_file({"x": torch.rand(9, 9), "label": torch.rand(9, 9)}, "x.safetensors")
    report = dropcli.apply("x.safetensors", "y.safetensors", seed=1)
    assert [warning["code"] for warning in report.document()["warnings"]] == ["looks-like-label"]
    report = dropcli.apply("x.safetensors", "y.safetensors", seed=1, all_floats=True, force=True)
    assert report.document()["warnings"] == []
    assert report.document()["settings"]["select"] == "all"


@pytest.mark.parametrize("in_place", [False, True])
def test_resuming_across_rules_is_refused_with_a_hint(run: Run, in_place: bool) -> None:
    target = ("--in-place",) if in_place else ("-o", "out")
    for number in range(3):
        labelled(f"data/{number}.safetensors")
    Path("data/1.safetensors").write_bytes(b"damaged")
    assert run("apply", "data", *target, "--seed", 1).code == 3
    result = run("apply", "data", *target, "--seed", 1, "--resume", "--all-floats", "--json")
    assert (result.code, result.errors) == (2, ["other-settings"])
    assert result.json["errors"][0]["hint"]


def test_a_run_from_before_the_rules_is_resumed_with_all_floats(run: Run) -> None:
    for number in range(3):
        labelled(f"data/{number}.safetensors")
    good = Path("data/1.safetensors").read_bytes()
    Path("data/1.safetensors").write_bytes(b"damaged")
    options = ("apply", "data", "-o", "out", "--seed", 1)
    assert run(*options, "--all-floats").code == 3
    Path("data/1.safetensors").write_bytes(good)
    journal = Path("out/dropcli.jsonl")
    lines = journal.read_text()
    assert '"select": "all", ' in lines
    journal.write_text(lines.replace('"select": "all", ', ""))
    assert run(*options, "--resume").code == 2
    result = run(*options, "--resume", "--all-floats", "--json")
    assert result.code == 0, result.err
    skipped = [file["status"] for file in result.json["files"]]
    assert skipped == ["skipped", "written", "skipped"]


def test_warnings_count_files_and_not_copies(run: Run) -> None:
    for number in range(3):
        labelled(f"data/{number}.safetensors")
    result = run("apply", "data", "-o", "out", "--copies", 2, "--keep-original", "--json")
    assert [(w["code"], w["files"]) for w in result.json["warnings"]] == [("looks-like-label", 3)]
