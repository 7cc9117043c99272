"""Options that have no meaning together are refused before any file is touched."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ("--alpha --fill 0", "do-not-go-together", "--alpha, --fill"),
        ("--alpha --no-rescale", "do-not-go-together", "--alpha, --no-rescale"),
        ("--p-per sample", "p-per-without-range", "--p-per sample"),
        ("--p-per sample -p 0.3", "p-per-without-range", "-p 0.3"),
        ("--p-per batch -p 0.1:0.2", "bad-p-per", "--p-per, 'batch', file, sample"),
        ("--exact", "no-groups", "--exact, --over"),
        ("--exact --mode element", "no-groups", "--exact, --over"),
        ("--min-keep 1", "no-groups", "--min-keep, --over"),
        ("--min-keep 0 --over 0", "bad-min-keep", "'0'"),
        ("--min-keep 1.0 --over 0", "bad-min-keep", "'1.0'"),
        ("--min-keep -1 --over 0", "bad-min-keep", "'-1'"),
        ("-p 0.5:0.1", "bad-p", "0.1:0.5"),
        ("-p 0.5:", "bad-p", "''"),
        ("-p :0.5", "bad-p", "''"),
        ("-p 0.1:0.2:0.3", "bad-p", "'0.2:0.3'"),
        ("-p 0.1:1.2", "bad-p", "'1.2'"),
        ("-p 0.1:1e-400", "bad-p", "'1e-400'"),
        ("--rng numpy", "bad-rng", "'numpy', dropcli, torch"),
        ("--rng torch --stream x", "do-not-go-together", "--rng torch, --stream"),
        ("--rng torch --over 0", "torch-over", "--over 0"),
        ("--rng torch --over 0,1:2", "torch-over", "--over 0,1:2"),
        ("--rng torch --over 0,-1", "torch-over", "--over 0,-1"),
        ("--rng torch -p 0.1:0.2", "do-not-go-together", "--rng torch, -p 0.1:0.2"),
        ("--rng torch --exact --over 0,1", "do-not-go-together", "--rng torch, --exact"),
        ("--rng torch --min-keep 1 --over 0,1", "do-not-go-together", "--rng torch, --min-keep"),
        ("--rng torch --alpha", "do-not-go-together", "--rng torch, --alpha"),
    ],
)
def test_senseless_combinations(run: Run, options: str, code: str, named: str) -> None:
    save_file({"x": torch.ones(2, 3, 4, 4)}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", *options.split(), "--json")
    assert (result.code, result.errors) == (2, [code])
    assert all(words in result.err for words in named.split(", "))
    assert not Path("out.safetensors").exists()


@pytest.mark.parametrize(
    "options",
    [
        "--alpha",
        "-p 0.1:0.5",
        "-p 0.1:0.5 --p-per sample --alpha --mode channel --exact --min-keep 1",
        "--rng torch --mode channel",
        "--exact --over 0",
    ],
)
def test_evaluation_mode_goes_with_everything(run: Run, options: str) -> None:
    x = torch.randn(2, 3, 4, 4)
    save_file({"x": x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "--eval", *options.split())
    assert result.code == 0, result.err
    assert torch.equal(load_file("out.safetensors")["x"], x)


def test_settings_are_as_they_were_where_nothing_new_is_used(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "in.safetensors")
    document = run("apply", "in.safetensors", "-o", "out.safetensors", "--json").json
    assert list(document["settings"]) == [
        *("p", "seed", "over", "rescale", "fill", "key", "exclude", "select", "eval")
    ]
    (tensor,) = document["files"][0]["tensors"]
    assert list(tensor)[-2:] == ["before", "after"]
