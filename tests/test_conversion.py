"""From `.pt` to safetensors and back."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import dropped_pt, offsets_are_aligned
from tests.conftest import Run, shell


def test_a17_conversion_to_safetensors(run: Run) -> None:
    w = torch.randn(20, 30)
    content: dict[str, Any] = {
        "w": w,
        "tied": w.detach(),
        "t": torch.randn(300, 500).t(),
        "cut": torch.randn(40, 50)[::2, ::3],
        "expanded": torch.randn(3).expand(4, 3),
        "deep": [{"x": torch.randn(7).half()}, torch.arange(5)],
        "scalar": torch.tensor(2.5),
        "empty": torch.ones(0, 3),
    }
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.safetensors", "--seed", 1, "--exclude", "expanded",
                 "--all-floats")  # fmt: skip
    assert result.code == 0, result.err
    after = load_file("y.safetensors")
    for name, x in (
        *((name, content[name]) for name in ("w", "t", "cut", "scalar")),
        ("deep.0.x", content["deep"][0]["x"]),
    ):
        assert oracle.equal_bits(after[name], dropped_pt(x, name)), name
    assert torch.equal(after["tied"], after["w"])
    assert torch.equal(after["expanded"], content["expanded"])
    assert torch.equal(after["deep.1"], torch.arange(5))
    assert after["empty"].shape == (0, 3)
    assert "seed 1" in run("info", "y.safetensors").out

    bad = bytearray(Path("x.pt").read_bytes())
    bad[bad.index(zipfile.ZipFile("x.pt").read("x/data/0")) + 5] ^= 1
    Path("bad.pt").write_bytes(bad)
    result = run("apply", "bad.pt", "-o", "z.safetensors", "--exclude", "expanded", "--json")
    assert (result.code, result.errors) == (1, ["wrong-checksum"])
    assert "x/data/0" in result.err
    assert not Path("z.safetensors").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"x": torch.ones(3), "label": 5},
        [torch.ones(3), "text"],
        {"x": torch.ones(3, dtype=torch.complex128)},
        {"x": torch.eye(3).to_sparse()},
        {"x": torch.ones(3), "n": np.ones(3)},
    ],
    ids=["int", "text", "complex128", "sparse", "numpy"],
)
def test_what_safetensors_cannot_store_is_refused(run: Run, content: Any) -> None:
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.safetensors", "--json")
    assert result.code == 1
    assert result.errors[0] in ("not-only-tensors", "not-in-safetensors")
    assert result.err.startswith("error: x.pt: ")
    assert not Path("y.safetensors").exists()


def test_conversion_to_pt(run: Run) -> None:
    content = {
        "a.w": torch.randn(70, 30),
        "é": torch.randn(5).bfloat16(),
        "f8": torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2),
        "u": torch.arange(5).to(torch.uint32),
        "scalar": torch.tensor(1.5),
        "empty": torch.ones(2, 0),
        "b": torch.tensor([True, False]),
    }
    save_file(content, "x.safetensors", {"made": "by a test"})
    result = run("apply", "x.safetensors", "-o", "y.pt", "--seed", 1, "--json")
    assert (result.code, result.errors) == (1, ["not-in-pt"])
    assert "'made'" in result.err
    assert not Path("y.pt").exists()
    save_file(content, "x.safetensors", {"format": "pt"})
    result = run("apply", "x.safetensors", "-o", "y.pt", "--seed", 1, "--all-floats")
    assert result.code == 0, result.err
    assert zipfile.ZipFile("y.pt").testzip() is None
    assert offsets_are_aligned("y.pt")
    for mmap in (False, True):
        after = torch.load("y.pt", weights_only=True, mmap=mmap)
        assert after.keys() == content.keys()
        for name, x in content.items():
            kept = x if name in ("f8", "u", "b") else dropped_pt(x, name)
            assert oracle.equal_bits(after[name], kept), name
    back = run("apply", "y.pt", "-o", "z.safetensors", "--eval", "--no-provenance")
    assert back.code == 0, back.err
    again = load_file("z.safetensors")
    assert all(oracle.equal_bits(again[name], after[name]) for name in content)


def test_conversion_from_a_pipe() -> None:
    save_file({"x": torch.randn(1000)}, "x.safetensors")
    done = shell("cat x.safetensors | dropcli apply - -o y.pt --seed 1 -q")
    assert done.returncode == 0, done.stderr
    assert torch.load("y.pt", weights_only=True)["x"].shape == (1000,)
