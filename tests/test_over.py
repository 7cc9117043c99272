"""Channels, samples, pixels and holes: what one decision covers."""

import math
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.conftest import Run


def check(run: Run, shape: tuple[int, ...], over: dict[int, int], *options: str) -> None:
    x = torch.randn(shape)
    save_file({"x": x}, "in.safetensors")
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "-p", 0.4, "--seed", 3,
                 "--json", *options)  # fmt: skip
    assert result.code == 0, result.err
    drop = oracle.dropped(shape, 0.4, oracle.key(3, "in", "x"), over)
    assert oracle.equal_bits(load_file("out.safetensors")["x"], oracle.dropout(x, drop, 0.4))

    (tensor,) = result.json["files"][0]["tensors"]
    grid = [-(-size // over[d]) if d in over else 1 for d, size in enumerate(shape)]
    cells = oracle.dropped(tuple(grid), 0.4, oracle.key(3, "in", "x"))
    assert tensor["decisions"] == math.prod(grid)
    assert tensor["dropped"] == int(cells.sum())
    assert tensor["elements_dropped"] == int(drop.sum())


@pytest.mark.parametrize(
    ("shape", "over", "options"),
    [
        ((6, 5, 4, 4), {0: 1, 1: 1}, ("--mode", "channel")),
        ((6, 5, 4, 4, 3), {0: 1, 1: 1}, ("--mode", "channel")),
        ((6, 4, 4, 5), {0: 1, 3: 1}, ("--over", "0,3")),
        ((6, 5, 16), {0: 1, 1: 1}, ("--over", "0,1")),
        ((5, 8, 8), {0: 1}, ("--over", "0")),
        ((40, 3, 2), {0: 1}, ("--over", "0")),
        ((4, 3, 6, 7), {0: 1, 2: 1, 3: 1}, ("--over", "0,2,3")),
        ((4, 3, 32, 30), {0: 1, 2: 8, 3: 8}, ("--over", "0,2:8,3:8")),
        ((4, 3, 32, 30), {0: 1, 2: 8, 3: 8}, ("--over", "0,-2:8,-1:8")),
        ((4, 3, 5), {0: 1, 2: 100}, ("--over", "2:100,0")),
        ((7, 0, 3), {0: 1, 2: 2}, ("--over", "0,2:2")),
    ],
    ids=str,
)
def test_all_combinations_of_dimensions(
    run: Run, shape: tuple[int, ...], over: dict[int, int], options: tuple[str, ...]
) -> None:
    check(run, shape, over, *options)


def test_random_shapes_and_blocks(run: Run) -> None:
    chance = random.Random(5)
    for _ in range(60):
        shape = tuple(chance.choice((1, 2, 3, 5, 9)) for _ in range(chance.randint(1, 8)))
        dimensions = chance.sample(range(len(shape)), chance.randint(1, len(shape)))
        over = {dimension: chance.randint(1, 6) for dimension in dimensions}
        check(run, shape, over, "--over", ",".join(f"{d}:{b}" for d, b in over.items()))


def test_channel_mode_drops_whole_channels_as_dropout2d_does(run: Run) -> None:
    x = torch.rand(50, 40, 3, 3) + 0.5
    save_file({"x": x}, "in.safetensors")
    assert run("apply", "in.safetensors", "-o", "o.safetensors", "--mode", "channel").code == 0
    ours, theirs = load_file("o.safetensors")["x"], torch.nn.Dropout2d(0.5)(x)
    both = (ours[:, :, 0, 0] != 0) & (theirs[:, :, 0, 0] != 0)
    zero = (ours == 0).flatten(2)
    assert torch.equal(zero.all(2), zero.any(2))
    assert torch.equal(ours[both], theirs[both])
