"""Options that have no meaning together are refused before any file is touched."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--alpha --fill 0", "--alpha without --fill"),
        ("--alpha --no-rescale", "--alpha without --no-rescale"),
        ("--p-per sample", "--p-per sample: expected a range"),
        ("--p-per sample -p 0.3", "got -p 0.3"),
        ("--p-per batch -p 0.1:0.2", "--p-per: 'batch' is not file or sample"),
        ("--exact", "--exact: expected --over or --mode channel"),
        ("--exact --mode element", "--exact: expected --over or --mode channel"),
        ("--min-keep 1", "--min-keep: expected --over or --mode channel"),
        ("--min-keep 0 --over 0", "--min-keep: '0' is not a positive integer"),
        ("--min-keep 1.0 --over 0", "'1.0' is not"),
        ("--min-keep -1 --over 0", "'-1' is not"),
        ("-p 0.5:0.1", "did you mean 0.1:0.5?"),
        ("-p 0.5:", "'' is not a number from 0 to 1"),
        ("-p :0.5", "'' is not a number from 0 to 1"),
        ("-p 0.1:0.2:0.3", "'0.2:0.3' is not"),
        ("-p 0.1:1.2", "'1.2' is not"),
        ("-p 0.1:1e-400", "'1e-400' rounds to 0"),
        ("--rng numpy", "--rng: 'numpy' is not dropcli or torch"),
        ("--rng torch --stream x", "--rng torch without --stream"),
        ("--rng torch --over 0", "got --over 0"),
        ("--rng torch --over 0,1:2", "got --over 0,1:2"),
        ("--rng torch --over 0,-1", "got --over 0,-1"),
        ("--rng torch -p 0.1:0.2", "--rng torch without -p 0.1:0.2"),
        ("--rng torch --exact --over 0,1", "--rng torch without --exact"),
        ("--rng torch --min-keep 1 --over 0,1", "--rng torch without --min-keep"),
        ("--rng torch --alpha", "--rng torch without --alpha"),
    ],
)
def test_senseless_combinations(run: Run, options: str, message: str) -> None:
    save_file({"x": torch.ones(2, 3, 4, 4)}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", *options.split())
    assert result.code == 2, result.out
    assert message in result.err
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
