"""`-p LOW:HIGH`: the p of each file and sample, and the bytes, against an oracle."""

import csv
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import special_values
from tests.conftest import Run


def expected_by_sample(
    x: torch.Tensor,
    p: list[float],
    over: dict[int, int] | None = None,
    rescale: bool = True,
    fill: float | None = None,
) -> tuple[torch.Tensor, int]:
    """The output, computed sample by sample, and the number of decisions that drop."""
    key = oracle.key(3, "in", "x")
    grid = [-(-s // over[d]) if d in over else 1 for d, s in enumerate(x.shape)] if over else None
    cells = tuple(grid or x.shape)
    y, dropped = x.clone(), 0
    for number, chance in enumerate(p):
        # The mask of the whole tensor at this p, of which one sample is used.
        drop = oracle.dropped(tuple(x.shape), chance, key, over)[number : number + 1]
        y[number] = oracle.dropout(x[number : number + 1], drop, chance, rescale, fill)[0]
        dropped += int(oracle.dropped(cells, chance, key)[number].sum())
    return y, dropped


def apply(run: Run, x: torch.Tensor, *options: object) -> tuple[torch.Tensor, dict[str, Any]]:
    save_file({"x": x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "--json", "--seed", 3,
                 "-k", "x", *options)  # fmt: skip
    assert result.code == 0, result.err
    tensor: dict[str, Any] = result.json["files"][0]["tensors"][0]
    return load_file("out.safetensors")["x"], tensor


@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_one_p_for_a_file(run: Run, dtype: torch.dtype) -> None:
    (p,) = oracle.chances(0.1, 0.6, 1, "in")
    x = special_values(dtype)
    ours, tensor = apply(run, x, "-p", "0.1:0.6")
    drop = oracle.dropped(tuple(x.shape), p, oracle.key(3, "in", "x"))
    assert oracle.equal_bits(ours, oracle.dropout(x, drop, p))
    assert tensor["p"] == p
    assert tensor["deviation"] == tensor["rate"] - p
    assert "p_min" not in tensor


def test_all_tensors_of_a_file_have_its_p_and_other_files_another(run: Run) -> None:
    save_file({"a": torch.randn(9), "b": torch.randn(3, 3)}, "in.safetensors")
    seen = set()
    for stream in ("one", "two", "three"):
        document = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "--json", "-p",
                       "0:1", "--seed", 3, "--stream", stream).json  # fmt: skip
        assert document["settings"]["p"] == [0, 1]
        assert document["settings"]["p_per"] == "file"
        (p,) = {tensor["p"] for tensor in document["files"][0]["tensors"]}
        assert [p] == oracle.chances(0, 1, 1, stream)
        seen.add(p)
    assert len(seen) == 3


@pytest.mark.parametrize("options", [(), ("--no-rescale",), ("--fill", "-1.5")], ids=str)
@pytest.mark.parametrize("dtype", [*oracle.FLOATS, torch.complex64, torch.float8_e4m3fn], ids=str)
def test_a_p_for_each_sample(run: Run, dtype: torch.dtype, options: tuple[str, ...]) -> None:
    x = special_values(dtype, 37 * 131)[: 37 * 131].reshape(37, 131)
    p = oracle.chances(0.1, 0.9, 37, "in", "x")
    ours, tensor = apply(run, x, "-p", "0.1:0.9", "--p-per", "sample", *options)
    fill = -1.5 if "--fill" in options else None
    expected, dropped = expected_by_sample(x, p, None, "--no-rescale" not in options, fill)
    assert oracle.equal_bits(ours, expected)
    assert tensor["dropped"] == dropped
    assert tensor["p"] == pytest.approx(math.fsum(p) / 37, abs=1e-15)
    assert (tensor["p_min"], tensor["p_max"]) == (min(p), max(p))


def test_integers_by_sample(run: Run) -> None:
    x = torch.arange(1, 37 * 131 + 1).reshape(37, 131)
    p = oracle.chances(0, 1, 37, "in", "x")
    ours, _ = apply(run, x, "-p", "0:1", "--p-per", "sample", "--no-rescale")
    assert torch.equal(ours, expected_by_sample(x, p, None, rescale=False)[0])


@pytest.mark.parametrize(
    ("shape", "over"),
    [
        ((1, 300_001), None),
        ((3, 300_001), None),
        ((300_001,), None),
        ((7, 1), None),
        ((9, 6, 5, 4), {0: 1, 1: 1}),
        ((9, 6, 5, 4), {0: 1}),
        ((9, 6, 16, 17), {0: 1, 2: 8, 3: 8}),
        ((5, 700, 801), {0: 1, 2: 1}),
    ],
    ids=str,
)
def test_shapes(run: Run, shape: tuple[int, ...], over: dict[int, int] | None) -> None:
    x = torch.randn(shape)
    options = ("--over", ",".join(f"{d}:{b}" for d, b in over.items())) if over else ()
    p = oracle.chances(0.2, 0.7, shape[0], "in", "x")
    ours, tensor = apply(run, x, "-p", "0.2:0.7", "--p-per", "sample", *options)
    if shape == (300_001,):  # a sample is one element, of the p that its number has
        keys = oracle.key(3, "in", "x")
        limits = np.floor(np.array(p) * 2**32 + 0.5)
        drop = oracle.words(keys, len(p)) < limits
        factor = 1 / (1 - torch.tensor(p, dtype=torch.float64)).float()
        assert torch.equal(ours, x * (torch.from_numpy(~drop).float() * factor))
        assert tensor["dropped"] == int(drop.sum())
        return
    expected, dropped = expected_by_sample(x, p, over)
    assert oracle.equal_bits(ours, expected)
    assert tensor["dropped"] == dropped


def test_random_shapes_and_blocks(run: Run) -> None:
    chance = random.Random(6)
    for _ in range(40):
        shape = tuple(chance.choice((1, 2, 3, 5, 9)) for _ in range(chance.randint(1, 6)))
        others = chance.sample(range(1, len(shape)), chance.randint(0, len(shape) - 1))
        over = {0: 1, **{dimension: chance.randint(1, 6) for dimension in others}}
        x = torch.randn(shape)
        p = oracle.chances(0.0, 1.0, shape[0], "in", "x")
        text = ",".join(f"{d}:{b}" for d, b in over.items())
        ours, _ = apply(run, x, "-p", "0:1", "--p-per", "sample", "--over", text)
        assert oracle.equal_bits(ours, expected_by_sample(x, p, over)[0])


def test_strides_of_pt_files(run: Run) -> None:
    """Samples are logical: a transposed tensor is dropped like its contiguous copy."""
    x = torch.randn(300, 200).t()
    options = ("-p", "0.1:0.9", "--p-per", "sample", "--seed", 1, "--stream", "s")
    torch.save({"x": x}, "in.pt")
    save_file({"x": x.contiguous()}, "in.safetensors")
    for name in ("in.pt", "in.safetensors"):
        assert run("apply", name, "-o", f"out-{name}", *options).code == 0
    assert run("apply", "in.pt", "-o", "converted.safetensors", *options).code == 0
    expected = load_file("out-in.safetensors")["x"]
    assert torch.equal(torch.load("out-in.pt")["x"], expected)
    assert torch.equal(load_file("converted.safetensors")["x"], expected)


@pytest.mark.parametrize("ends", ["0:0", "1:1", "0.3:0.3"])
def test_a_range_without_width_is_its_one_p(run: Run, ends: str) -> None:
    """p = 0 keeps even signalling NaN."""
    bits = torch.tensor([0x7F800001, 0x7FC00000, -0x7FFFFF, 7], dtype=torch.int32).repeat(50, 1)
    x = bits.view(torch.float32)
    plain, _ = apply(run, x, "-p", ends.split(":")[0])
    for per in ("file", "sample"):
        ours, _ = apply(run, x, "-p", ends, "--p-per", per)
        assert torch.equal(ours.view(torch.int32), plain.view(torch.int32))


def test_alpha_by_sample(run: Run) -> None:
    """Each sample equals alpha dropout of the tensor at the p of the sample."""
    x = torch.randn(12, 5000)
    p = oracle.chances(0.1, 0.9, 12, "in", "x")
    ours, _ = apply(run, x, "-p", "0.1:0.9", "--p-per", "sample", "--alpha")
    for number, chance in enumerate(p):
        alone, _ = apply(run, x, "-p", repr(chance), "--alpha")
        assert torch.equal(ours[number], alone[number])


def test_empty_tensors(run: Run) -> None:
    save_file({"x": torch.ones(0, 3), "y": torch.ones(3, 0)}, "in.safetensors")
    for per in ("file", "sample"):
        result = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "-p", "0.1:0.2",
                     "--p-per", per, "--stats", "s.csv")  # fmt: skip
        assert result.code == 0, result.err
        assert run("info", "out.safetensors").code == 0


def test_text_output(run: Run) -> None:
    save_file({"x": torch.ones(50, 8)}, "in.safetensors")
    options = ("-p", "0.1:0.5", "--p-per", "sample", "--seed", 3, "--stats", "s.csv")
    shown = run("apply", "in.safetensors", "-o", "out.safetensors", *options).out
    assert "p 0.1 to 0.5 for each sample, seed 3" in shown
    assert "p 0.1 to 0.5 for each sample, seed 3" in run("info", "out.safetensors").out
    (row,) = csv.DictReader(Path("s.csv").read_text().splitlines())
    mean = math.fsum(oracle.chances(0.1, 0.5, 50, "in", "x")) / 50
    assert float(row["asked"]) == pytest.approx(mean)
    assert f"{mean:.4g}" in shown

    plan = run("apply", "in.safetensors", "-o", "new.safetensors", "-n", *options[:-2])
    assert f"{mean:.4g}" in plan.out
