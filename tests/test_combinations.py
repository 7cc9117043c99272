"""Options that have no meaning together are refused before any file is touched."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run


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
def test_evaluation_mode_combines_with_every_option(run: Run, options: str) -> None:
    x = torch.randn(2, 3, 4, 4)
    save_file({"x": x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "--eval", *options.split())
    assert result.code == 0, result.err
    assert torch.equal(load_file("out.safetensors")["x"], x)


def test_unused_new_settings_are_not_recorded(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "in.safetensors")
    document = run("apply", "in.safetensors", "-o", "out.safetensors", "--json").json
    assert list(document["settings"]) == [
        *("p", "seed", "over", "rescale", "fill", "key", "exclude", "select", "eval")
    ]
    (tensor,) = document["files"][0]["tensors"]
    assert list(tensor)[-2:] == ["before", "after"]
