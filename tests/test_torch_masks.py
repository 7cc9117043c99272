"""`--rng torch` against torch: the bytes that `manual_seed` and a module give."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import special_values
from tests.conftest import Run, shell

P = (0.0, 0.05, 0.5, 0.95, 1.0)


def in_file_order(path: str) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.offset_keys())


def by_torch(
    tensors: dict[str, torch.Tensor], names: list[str], seed: int, module: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """The tensors after the usual lines of torch."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about Dropout2d on other than four dimensions
        return {name: module(tensors[name]) for name in names}


def check(run: Run, tensors: dict[str, torch.Tensor], p: float, *options: str) -> None:
    save_file(tensors, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "-p", p, "--seed", 9,
                 "--all-floats", "--rng", "torch", *options)  # fmt: skip
    assert result.code == 0, result.err
    module = torch.nn.Dropout2d(p) if options else torch.nn.Dropout(p)
    expected = by_torch(tensors, in_file_order("in.safetensors"), 9, module)
    ours = load_file("out.safetensors")
    for name in tensors:
        assert oracle.equal_bits(ours[name], expected[name]), name


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_elements_of_several_tensors(run: Run, dtype: torch.dtype, p: float) -> None:
    sizes = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 1000, 65_537, (1 << 18) + 5)
    tensors = {f"t{size}": special_values(dtype, max(size, 8))[:size].clone() for size in sizes}
    tensors["scalar"] = torch.tensor(2.0, dtype=dtype)
    tensors["3-d"] = torch.randn(5, 6, 7).to(dtype)
    check(run, tensors, p)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_large_tensors(run: Run, p: float) -> None:
    check(run, {"a": torch.randn((1 << 20) + 3), "b": torch.randn(2, (1 << 20) + 1).half()}, p)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_channels_of_several_tensors(run: Run, dtype: torch.dtype, p: float) -> None:
    shapes = ((1, 1, 1, 1), (3, 5, 4, 4), (70, 30, 9, 9), (2, 0, 3, 3), (2, 3, 2, 2, 2))
    tensors = {str(shape): torch.randn(shape).to(dtype) for shape in shapes}
    check(run, tensors, p, "--mode", "channel")
    check(run, tensors, p, "--over", "0,1")


def test_channels_of_sequences(run: Run) -> None:
    x = torch.randn(40, 30, 50)
    save_file({"x": x}, "in.safetensors")
    options = ("-p", 0.4, "--seed", 2, "--rng", "torch", "--over", "0,1")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", *options).code == 0
    torch.manual_seed(2)
    assert torch.equal(load_file("out.safetensors")["x"], torch.nn.Dropout1d(0.4)(x))


def test_strides_of_pt_files(run: Run) -> None:
    """torch draws in the order of memory, and so do we, also if the output is row-major."""
    x = torch.randn(6, 8, 10, 12)
    tensors = {
        "b": torch.randn(700, 900).t(),
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "permuted": x.permute(3, 0, 2, 1),
        "a": torch.randn(3),
        "gaps": torch.randn(50, 60)[:, ::3],
        "both": torch.randn(20, 30, 40)[::2, :, ::5].permute(2, 0, 1),
        "thin": torch.randn(5, 1, 7, 1).permute(2, 3, 0, 1),
    }
    torch.save(tensors, "in.pt")
    expected = by_torch(torch.load("in.pt"), list(tensors), 5, torch.nn.Dropout(0.3))
    options = ("-p", 0.3, "--seed", 5, "--rng", "torch")
    assert run("apply", "in.pt", "-o", "out.pt", *options).code == 0
    assert run("apply", "in.pt", "-o", "out.safetensors", *options).code == 0
    for ours in (torch.load("out.pt"), load_file("out.safetensors")):
        for name in tensors:
            assert oracle.equal_bits(ours[name].contiguous(), expected[name].contiguous()), name

    names = ["channels last", "permuted"]
    expected = by_torch(torch.load("in.pt"), names, 5, torch.nn.Dropout2d(0.3))
    chosen = [word for name in names for word in ("-k", name)]
    assert run("apply", "in.pt", "-fo", "out.pt", *options, "--mode", "channel", *chosen).code == 0
    for name in names:
        assert oracle.equal_bits(torch.load("out.pt")[name], expected[name])


def test_unselected_tensors_draw_nothing(run: Run) -> None:
    tensors = {"a": torch.randn(99), "b": torch.randn(99), "c": torch.randn(99)}
    save_file(tensors, "in.safetensors")
    options = ("--seed", 1, "--rng", "torch", "--exclude", "b")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", *options).code == 0
    expected = by_torch(tensors, ["a", "c"], 1, torch.nn.Dropout(0.5))
    ours = load_file("out.safetensors")
    assert all(torch.equal(ours[name], expected[name]) for name in ("a", "c"))
    assert torch.equal(ours["b"], tensors["b"])


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_every_seed_that_torch_takes(run: Run, seed: int) -> None:
    x = torch.randn(1000)
    save_file({"x": x}, "in.safetensors")
    options = ("--seed", seed, "--rng", "torch", "--stats", "s.csv")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", *options).code == 0
    expected = by_torch({"x": x}, ["x"], seed, torch.nn.Dropout(0.5))
    assert torch.equal(load_file("out.safetensors")["x"], expected["x"])


def test_pipes(run: Run) -> None:
    x = torch.randn(600_000)
    save_file({"x": x}, "in.safetensors")
    done = shell("cat in.safetensors | dropcli apply - -o - --rng torch --seed 3 > out.safetensors")
    assert done.returncode == 0, done.stderr
    expected = by_torch({"x": x}, ["x"], 3, torch.nn.Dropout(0.5))
    assert torch.equal(load_file("out.safetensors")["x"], expected["x"])


def test_it_is_recorded_with_a_warning(run: Run) -> None:
    save_file({"x": torch.randn(30)}, "in.safetensors")
    words = ("apply", "in.safetensors", "-o", "out.safetensors", "--seed", 1, "--rng", "torch")
    result = run(*words, "--json")
    assert result.warnings == ["torch-masks"]
    assert f"torch {torch.__version__}" in result.err
    with safe_open("out.safetensors", "pt") as file:
        (entry,) = json.loads(file.metadata()["dropcli"])
    assert entry["contract"] == f"torch/{torch.__version__}"
    assert entry["settings"]["rng"] == "torch"
    assert entry["settings"]["torch"] == torch.__version__
    assert f"masks of torch {torch.__version__}" in run("info", "out.safetensors").out
    assert "warning" not in run("apply", "in.safetensors", "-o", "e.safetensors", "--eval",
                                "--rng", "torch").err  # fmt: skip


def test_torch_is_imported_only_in_this_mode() -> None:
    save_file({"x": torch.randn(30)}, "in.safetensors")
    lines = (
        "import sys",
        "from dropcli.cli import main",
        "main(sys.argv[1:])",
        "print('torch' in sys.modules)",
    )
    Path("script.py").write_text("\n".join(lines))
    for options, imported in (("--rng torch", "True"), ("--rng dropcli", "False")):
        command = f"script.py apply in.safetensors -fqo out.safetensors {options}"
        done = shell(f"{sys.executable} {command}")
        assert done.stdout.decode().split()[-1] == imported, done.stderr
