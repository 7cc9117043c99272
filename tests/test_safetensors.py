"""safetensors headers, good and hostile: we are as strict as the safetensors library."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import DATA, entry, pack
from tests.conftest import Run, codes, header_of, shell


@pytest.mark.parametrize("padding", [1, 8, 64, 4096])
def test_data_stays_as_aligned_as_it_was(run: Run, padding: int) -> None:
    header = json.dumps(entry()).encode()
    header += b" " * (-(8 + len(header)) % padding)
    Path("x.safetensors").write_bytes(pack(header, DATA))
    run("apply", "x.safetensors", "-o", "y.safetensors")
    length = int.from_bytes(Path("y.safetensors").read_bytes()[:8], "little")
    assert (8 + length) % max(padding, 8) == 0


def test_a_truncated_pipe_leaves_nothing() -> None:
    save_file({"x": torch.rand(1 << 20)}, "x.safetensors")
    for source, code in (
        ("head -c 3000000 x.safetensors", "truncated-data"),
        ("cat x.safetensors x.safetensors", "trailing-data"),
    ):
        done = shell(f"{source} | dropcli apply - -o y.safetensors --json")
        assert (done.returncode, codes(done.stdout)) == (1, [code])
        assert b"error: standard input: " in done.stderr
        assert os.listdir() == ["x.safetensors"]


def test_foreign_provenance_is_kept(run: Run) -> None:
    save_file({"x": torch.ones(3)}, "x.safetensors", {"dropcli": "my own note"})
    result = run("apply", "x.safetensors", "-o", "y.safetensors")
    assert result.code == 1
    assert "--no-provenance" in result.err
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "--no-provenance").code == 0
    assert header_of("y.safetensors")["__metadata__"] == {"dropcli": "my own note"}


def test_info_shows_what_is_there(run: Run) -> None:
    save_file({"a.b": torch.ones(2, 3), "c": torch.tensor(1)}, "x.safetensors", {"k": "v"})
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0.25, "--seed", 9, "--over", "0")
    document = run("info", "--json", "y.safetensors").json
    (file,) = document["files"]
    assert document["status"] == "success"
    assert file["bytes"] == os.path.getsize("y.safetensors")
    assert file["metadata"]["k"] == "v"
    assert {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in file["tensors"]} == {
        "a.b": ("F32", [2, 3], 24),
        "c": ("I64", [], 8),
    }
    text = run("info", "y.safetensors").out
    assert "dropcli/1: p 0.25, seed 9, stream x, over 0\n" in text
    assert "k: v" in text


def test_info_of_several_files_continues_after_an_error(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "x.safetensors")
    Path("bad").write_bytes(b"?")
    result = run("info", "x.safetensors", "bad", "missing", "--json")
    assert result.code == 3
    assert result.json["status"] == "partial"
    assert [error["source"] for error in result.json["errors"]] == ["bad", "missing"]
    assert load_file("x.safetensors")["x"].sum() == 2
