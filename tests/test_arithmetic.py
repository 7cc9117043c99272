"""Every byte of the output against torch: dtypes, special values, p, options."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import special_values
from tests.conftest import Run

INTEGERS = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)
P = (0.0, 1e-9, 0.1, 0.3, 0.5, 0.999, 0.99999, 1.0)


def check(run: Run, x: torch.Tensor, p: float, *options: str, name: str = "x") -> None:
    """Run the command on `x` alone and compare the output with torch's."""
    save_file({name: x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-fq", "-p", repr(p),
                 "--seed", 11, "-k", name, *options)  # fmt: skip
    assert result.code == 0, result.err
    fills = [float(b) for a, b in itertools.pairwise(options) if a == "--fill"]
    drop = oracle.dropped(tuple(x.shape), p, oracle.key(11, "in", name))
    fill = fills[0] if fills else None
    expected = oracle.dropout(x, drop, p, "--no-rescale" not in options, fill)
    assert oracle.equal_bits(load_file("out.safetensors")[name], expected)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("options", [(), ("--no-rescale",), ("--fill", "-1.5")], ids=str)
@pytest.mark.parametrize("dtype", [*oracle.FLOATS, torch.complex64, *oracle.FLOAT8], ids=str)
def test_floating(run: Run, dtype: torch.dtype, options: tuple[str, ...], p: float) -> None:
    check(run, special_values(dtype), p, *options)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fill", [(), ("--fill", "1")], ids=["zero", "fill"])
@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool], ids=str)
def test_integers(run: Run, dtype: torch.dtype, fill: tuple[str, ...], p: float) -> None:
    x = torch.arange(-500, 500).to(dtype)
    check(run, x, p, "--no-rescale", *fill)


@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_scale_is_rounded_as_torch_rounds_it(run: Run, dtype: torch.dtype) -> None:
    """The scale is rounded before the product; `x / (1 - p)` would differ in the last bit."""
    chance = random.Random(3)
    for p in (chance.random() for _ in range(40)):
        check(run, special_values(dtype, 301), p)


@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_kept_values_equal_those_of_the_module(run: Run, dtype: torch.dtype) -> None:
    x = torch.rand(20_000, dtype=torch.float64).add(0.5).to(dtype)
    save_file({"x": x}, "in.safetensors")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", "-p", 0.3, "--seed", 1).code == 0
    ours = load_file("out.safetensors")["x"]
    theirs = torch.nn.Dropout(0.3)(x)
    both = (ours != 0) & (theirs != 0)
    assert both.sum() > 5000
    assert torch.equal(ours[both], theirs[both])


@pytest.mark.parametrize(
    "shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (2, 3, 4), (1, 2, 1, 3, 1, 2), (2,) * 8], ids=str
)
def test_shapes(run: Run, shape: tuple[int, ...]) -> None:
    check(run, torch.randn(shape), 0.4)


def test_names_are_part_of_the_key(run: Run) -> None:
    for name in ("é", "a.0.b", "[x]", "with space", "🙂"):
        check(run, torch.randn(1000), 0.5, name=name)


def test_p_0_keeps_signalling_nan(run: Run) -> None:
    """Even the quiet bit is unchanged: the output has the bytes of the input."""
    bits = torch.tensor([0x7F800001, 0x7FC00000, -0x7FFFFF], dtype=torch.int32)
    save_file({"x": bits.view(torch.float32)}, "in.safetensors")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", "-p", 0).code == 0
    assert torch.equal(load_file("out.safetensors")["x"].view(torch.int32), bits)


def test_integers_beyond_float64_are_exact(run: Run) -> None:
    save_file({"x": torch.full((100,), 2**62 + 1)}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-k", "x", "--no-rescale",
                 "--fill", 2**53 + 1, "--json", "--seed", 1)  # fmt: skip
    values = set(load_file("out.safetensors")["x"].tolist())
    assert values == {2**62 + 1, 2**53 + 1}
    assert result.json["files"][0]["tensors"][0]["after"]["min"] == 2**53 + 1


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        (torch.uint8, "256"),
        (torch.uint8, "-1"),
        (torch.int8, "1.5"),
        (torch.bool, "2"),
        (torch.float16, "70000"),
        (torch.float8_e4m3fn, "449"),
    ],
    ids=str,
)
def test_a_fill_that_does_not_fit_is_refused(run: Run, dtype: torch.dtype, fill: str) -> None:
    save_file({"x": torch.ones(4).to(dtype)}, "in.safetensors")
    scaled = () if dtype.is_floating_point else ("--no-rescale",)
    result = run(
        "apply", "in.safetensors", "-o", "o.safetensors", "-k", "x", "--fill", fill, *scaled,
        "--json"
    )  # fmt: skip
    assert (result.code, result.errors) == (1, ["bad-fill"])
    assert fill in result.err
    assert not Path("o.safetensors").exists()


def test_statistics_change_no_byte(run: Run) -> None:
    # Without statistics, which also show whether all values are finite.
    dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64)
    save_file({str(dtype): special_values(dtype) for dtype in dtypes}, "x.safetensors")
    words = ("x.safetensors", "-p", "0.3", "--seed", "7")
    assert run("apply", *words, "-o", "full.safetensors").code == 0
    assert run("apply", *words, "-o", "quiet.safetensors", "-q").code == 0
    assert Path("quiet.safetensors").read_bytes() == Path("full.safetensors").read_bytes()
