"""Alpha dropout against torch's own, value for value."""

import math
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import alpha_dropout, dropout, feature_alpha_dropout

from tests import oracle
from tests.builders import special_values
from tests.conftest import Run

DRAWS = 150
Function = Callable[[torch.Tensor, float, bool], torch.Tensor]


def kept_and_dropped(
    x: torch.Tensor, p: float, function: Function, mask_like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What torch returns for each element when it is kept and when it is dropped.

    torch's own mask is found by drawing it again, for ordinary dropout.
    """
    kept, dropped = torch.zeros_like(x), torch.zeros_like(x)
    ever_kept, ever_dropped = (torch.zeros(x.shape, dtype=torch.bool) for _ in range(2))
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        y = function(x, p, True)
        torch.manual_seed(seed)
        keep = (dropout(mask_like, p) != 0).expand(x.shape)
        kept[keep], dropped[~keep] = y[keep], y[~keep]
        ever_kept |= keep
        ever_dropped |= ~keep
    return kept, dropped, ever_kept, ever_dropped


def check(run: Run, x: torch.Tensor, p: float, function: Function, *options: str) -> None:
    channels = bool(options)
    save_file({"x": x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-fq", "-p", repr(p),
                 "--seed", 4, "--alpha", *options)  # fmt: skip
    assert result.code == 0, result.err
    ours = load_file("out.safetensors")["x"]
    over = {0: 1, 1: 1} if channels else None
    drop = torch.from_numpy(oracle.dropped(tuple(x.shape), p, oracle.key(4, "in", "x"), over))

    mask_like = torch.ones(*x.shape[:2], *[1] * (x.dim() - 2)) if channels else torch.ones(x.shape)
    kept, dropped, ever_kept, ever_dropped = kept_and_dropped(x, p, function, mask_like)
    if 0.09 < p < 0.91:
        assert bool(ever_kept.all())
        assert bool(ever_dropped.all())
    for ours_is, theirs, known in ((~drop, kept, ever_kept), (drop, dropped, ever_dropped)):
        both = ours_is & known
        assert oracle.equal_bits(ours[both], theirs[both])


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.3, 0.5, 0.9, 0.999, 0.99999])
@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_elements(run: Run, dtype: torch.dtype, p: float) -> None:
    check(run, special_values(dtype, 1501), p, alpha_dropout)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
def test_channels(run: Run, dtype: torch.dtype, p: float) -> None:
    x = special_values(dtype, 20 * 6 * 3 * 3).reshape(20, 6, 3, 3)
    check(run, x, p, feature_alpha_dropout, "--mode", "channel")
    check(run, x.flatten(2), p, feature_alpha_dropout, "--over", "0,1")


@pytest.mark.parametrize("dtype", oracle.FLOATS, ids=str)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_p_0_and_p_1(run: Run, dtype: torch.dtype, p: float) -> None:
    x = special_values(dtype)
    save_file({"x": x}, "in.safetensors")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", "--alpha", "-p", p).code == 0
    assert oracle.equal_bits(load_file("out.safetensors")["x"], alpha_dropout(x, p, True))


def test_scales_that_overflow_f16(run: Run) -> None:
    """p is so close to 1 that the scale is infinite; dropped elements must not become NaN."""
    p = 1 - 2**-40
    x = torch.linspace(-3, 3, 1000).half()
    save_file({"x": x}, "in.safetensors")
    assert run("apply", "in.safetensors", "-o", "out.safetensors", "--alpha", "-p", p).code == 0
    torch.manual_seed(0)
    assert oracle.equal_bits(load_file("out.safetensors")["x"], alpha_dropout(x, p, True))


def test_mean_and_variance_are_kept(run: Run) -> None:
    """On standard normal values, alpha dropout keeps both."""
    save_file({"x": torch.randn(1_000_000)}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "--alpha", "-p", 0.2,
                 "--seed", 1, "--json")  # fmt: skip
    after = result.json["files"][0]["tensors"][0]["after"]
    assert abs(after["mean"]) < 6 / math.sqrt(1_000_000)
    assert abs(after["std"] - 1) < 0.01
    assert result.json["settings"]["alpha"] is True


@pytest.mark.parametrize(
    "dtype", [torch.int32, torch.bool, torch.complex64, torch.float8_e5m2], ids=str
)
def test_other_dtypes_are_refused(run: Run, dtype: torch.dtype) -> None:
    save_file({"x": torch.ones(4).to(dtype), "y": torch.ones(4)}, "in.safetensors")
    options = ("--alpha", "-k", "x", "--json")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", *options)
    assert (result.code, result.errors) == (1, ["not-for-torch"])
    assert "tensor 'x'" in result.err
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "--alpha", "-p", 0.5,
                 "--all-floats")  # fmt: skip
    assert result.code == 0, "by default they are copied"
