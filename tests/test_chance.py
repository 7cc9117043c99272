"""Realised rates: standard deviations from p, against scipy, and the warning beyond 5."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scipy import stats

from tests import oracle
from tests.conftest import Run

UNLUCKY = 1_380_820  # 12 of 12 drop at p = 0.3: found by trying seeds, one in two million


def apply(run: Run, x: torch.Tensor, *options: object) -> tuple[dict[str, Any], list[str]]:
    save_file({"x": x}, "x.safetensors")
    result = run("apply", "x.safetensors", "-fo", "y.safetensors", *options, "--json")
    assert result.code == 0, result.err
    return result.json["files"][0]["tensors"][0], result.warnings


@pytest.mark.parametrize("over", [(), ("--over", "0,1"), ("--rng", "torch")])
@pytest.mark.parametrize("p", [0.001, 0.3, 0.9])
def test_the_rate_is_measured_in_standard_deviations_of_a_binomial(
    run: Run, p: float, over: tuple[str, ...]
) -> None:
    tensor, warnings = apply(run, torch.randn(64, 32, 5), "-p", p, "--seed", 7, *over)
    n, dropped = tensor["decisions"], tensor["dropped"]
    sd = float(stats.binom.std(n, p))
    assert tensor["rate_sd"] == pytest.approx(sd / n)
    assert tensor["rate_sigma"] == pytest.approx((dropped - n * p) / sd)
    assert warnings == (["torch-masks"] if "--rng" in over else [])


def test_samples_with_a_p_each_add_their_variances(run: Run) -> None:
    options = ("-p", "0.1:0.9", "--p-per", "sample", "--seed", 3)
    tensor, _ = apply(run, torch.randn(40, 500), *options)
    p = oracle.chances(0.1, 0.9, 40, "x", "x")
    variance = sum(500 * q * (1 - q) for q in p)
    assert tensor["p"] == pytest.approx(sum(p) / 40)
    expected = (tensor["dropped"] - 500 * sum(p)) / math.sqrt(variance)
    assert tensor["rate_sigma"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "sd"),
    [
        (("--mode", "channel", "--exact", "-p", 0.25), None),
        (("--mode", "channel", "--min-keep", 1), None),
        (("-p", 0), 0.0),
        (("-p", 1), 0.0),
        (("--eval",), None),
        (("-n",), None),
    ],
)
def test_a_rate_that_is_not_random_has_no_sigma(
    run: Run, options: tuple[object, ...], sd: float | None
) -> None:
    tensor, _ = apply(run, torch.randn(6, 8, 5, 5), *options)
    assert (tensor["rate_sd"], tensor["rate_sigma"]) == (sd, None)


def test_five_standard_deviations_give_a_warning(run: Run) -> None:
    tensor, warnings = apply(run, torch.ones(12), "-p", 0.3, "--seed", UNLUCKY)
    assert (tensor["dropped"], warnings) == (12, ["rate-far-from-p"])
    assert tensor["rate_sigma"] == pytest.approx(5.29, abs=0.01)
    result = run("apply", "x.safetensors", "-fo", "y.safetensors", "-p", 0.3, "--seed", UNLUCKY)
    assert "+5.3 sd" in result.out
    assert "5.3 standard deviations" in result.err


def test_a_rare_drop_gives_no_warning(run: Run) -> None:
    """One drop of 100 at p = 1e-5 is 31 standard deviations off, but not unlikely."""
    p = 1e-5
    for seed in range(20_000):
        if oracle.words(oracle.key(seed, "x", "x"), 100).min() < p * 2**32:
            break
    tensor, warnings = apply(run, torch.ones(100), "-p", p, "--seed", seed)
    assert tensor["dropped"] == 1
    assert tensor["rate_sigma"] > 30
    assert warnings == []


def test_a_dataset_adds_up_its_files(run: Run) -> None:
    Path("data").mkdir()
    for number in range(4):
        save_file({"x": torch.randn(100 + number, 7)}, f"data/{number}.safetensors")
    result = run("apply", "data", "-o", "out", "-p", 0.2, "--seed", 1, "-j", 2)
    n = 7 * (100 + 101 + 102 + 103)
    dropped = int(re.search(r"dropped +([\d,]+) of", result.out)[1].replace(",", ""))  # type: ignore[index]
    sigma = (dropped - 0.2 * n) / math.sqrt(n * 0.2 * 0.8)
    assert result.out.count(f"{sigma:+.1f} sd") == 2  # of the name, and of all
