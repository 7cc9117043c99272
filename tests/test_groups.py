"""`--exact` and `--min-keep` against a loop over groups that sorts each in plain Python."""

import itertools
import math
import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import dropcli
from dropcli.dropout import Dropout
from dropcli.masks import FileMasks
from dropcli.tensors import DTYPES, TensorInfo
from tests import oracle
from tests.conftest import Run

Shape = tuple[int, ...]


def expected_drop(
    shape: Shape,
    over: dict[int, int],
    p: list[float] | float,
    exact: bool,
    min_keep: int,
    key: bytes,
) -> NDArray[np.bool_]:
    """Which cells of the grid drop, shape of the grid; p is one for all, or one for each sample."""
    grid = [-(-size // over[d]) if d in over else 1 for d, size in enumerate(shape)]
    word = oracle.words(key, math.prod(grid)).reshape(grid)
    drop = np.zeros(grid, np.bool_)
    last = list(over)[-1]
    others = [range(1) if d == last else range(size) for d, size in enumerate(grid)]
    for place in itertools.product(*others):
        run: list[Any] = list(place)
        run[last] = slice(None)
        group = word[tuple(run)].tolist()
        chance = p[place[0]] if isinstance(p, list) else p
        threshold = math.floor(chance * 2**32 + 0.5)
        count = round(chance * len(group)) if exact else sum(w < threshold for w in group)
        count = min(count, max(0, len(group) - min_keep))
        order = sorted(range(len(group)), key=lambda i: (group[i], i))
        chosen = np.zeros(len(group), np.bool_)
        chosen[order[:count]] = True
        drop[tuple(run)] = chosen
    return drop


def spread_out(drop: NDArray[np.bool_], shape: Shape, over: dict[int, int]) -> NDArray[np.bool_]:
    """From cells to elements."""
    for d, size in enumerate(shape):
        cell = np.arange(size) // over[d] if d in over else np.zeros(size, int)
        drop = np.take(drop, cell, axis=d)
    return drop


def text_of(over: dict[int, int]) -> str:
    return ",".join(f"{d}:{b}" for d, b in over.items())


def check(
    run: Run, shape: Shape, over: dict[int, int], p: float, *, exact: bool, min_keep: int
) -> dict[str, Any]:
    x = torch.randn(shape)
    save_file({"x": x}, "in.safetensors")
    options = ["--over", text_of(over)] + ["--exact"] * exact
    options += ["--min-keep", str(min_keep)] * (min_keep > 0)
    last = list(over)[-1]
    size = -(-shape[last] // over[last])
    reachable = not exact or p in (0, 1) or 0 < round(p * size) < size or math.prod(shape) == 0
    result = run("apply", "in.safetensors", "-o", "out.safetensors", "-f", "-p", repr(p), "--seed",
                 3, "--json", *options)  # fmt: skip
    if not reachable:
        assert result.code == 1
        assert result.json["errors"][0]["code"] == "exact-out-of-reach"
        return {}
    assert result.code == 0, result.err
    cells = expected_drop(shape, over, p, exact, min_keep, oracle.key(3, "in", "x"))
    drop = spread_out(cells, shape, over)
    assert oracle.equal_bits(load_file("out.safetensors")["x"], oracle.dropout(x, drop, p))
    tensor: dict[str, Any] = result.json["files"][0]["tensors"][0]
    assert tensor["dropped"] == int(cells.sum())
    assert tensor["p"] == p
    rate = tensor["rate"]
    assert tensor["deviation"] == (None if rate is None else rate - p)
    return tensor


@pytest.mark.parametrize("p", [0.0, 0.05, 0.25, 0.5, 0.625, 0.9, 1.0])
@pytest.mark.parametrize(
    ("exact", "min_keep"), [(True, 0), (False, 1), (False, 3), (True, 2), (False, 99)]
)
def test_channels_of_each_sample(run: Run, p: float, exact: bool, min_keep: int) -> None:
    check(run, (40, 6, 3, 3), {0: 1, 1: 1}, p, exact=exact, min_keep=min_keep)


@pytest.mark.parametrize(
    ("shape", "over"),
    [
        ((50, 3), {0: 1}),  # all decisions are one group
        ((50, 7), {1: 1, 0: 1}),  # the samples of each channel
        ((6, 5, 9, 9), {0: 1, 2: 4, 3: 4}),  # holes of one row of holes
        ((6, 5, 9, 9), {3: 4, 0: 1}),
        ((6, 5, 9, 9), {0: 1, 3: 1, 1: 1}),
        ((0, 5), {0: 1, 1: 1}),
        ((5, 0), {0: 1, 1: 1}),
        ((1,), {0: 1}),
        ((70_000, 2), {0: 1}),
        ((70_000, 4), {0: 1, 1: 1}),
        ((9, 40_000), {1: 1, 0: 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize(("exact", "min_keep"), [(True, 0), (False, 2), (True, 2)])
def test_groups_run_along_the_last_dimension(
    run: Run, shape: Shape, over: dict[int, int], exact: bool, min_keep: int
) -> None:
    check(run, shape, over, 0.4, exact=exact, min_keep=min_keep)


def test_random_shapes_and_blocks(run: Run) -> None:
    chance = random.Random(7)
    for _ in range(60):
        shape = tuple(chance.choice((1, 2, 3, 5, 9)) for _ in range(chance.randint(1, 5)))
        dimensions = chance.sample(range(len(shape)), chance.randint(1, len(shape)))
        over = {dimension: chance.randint(1, 4) for dimension in dimensions}
        exact, min_keep = chance.choice([(True, 0), (False, 1), (True, 1), (False, 3)])
        check(run, shape, over, chance.random(), exact=exact, min_keep=min_keep)


def test_rates_are_exact_and_halves_go_to_even(run: Run) -> None:
    tensor = check(run, (500, 10, 2), {0: 1, 1: 1}, 0.3, exact=True, min_keep=0)
    assert tensor["dropped"] == 1500
    assert tensor["deviation"] == 0
    assert check(run, (8, 5, 1), {0: 1, 1: 1}, 0.5, exact=True, min_keep=0)["dropped"] == 8 * 2
    assert check(run, (8, 7, 1), {0: 1, 1: 1}, 0.5, exact=True, min_keep=0)["dropped"] == 8 * 4


def test_the_report_says_how_far_the_rate_is(run: Run) -> None:
    save_file({"x": torch.randn(40, 3, 2, 2)}, "in.safetensors")
    options = ("--mode", "channel", "--exact", "-p", 0.5, "--seed", 1)
    shown = run("apply", "in.safetensors", "-o", "out.safetensors", *options).out
    assert "over 0,1, exact" in shown
    assert f"largest deviation from p: {2 / 3 - 0.5:.4g}" in shown
    keeping = ("--mode", "channel", "--min-keep", 2, "-p", 0.5, "--seed", 1)
    assert run("apply", "in.safetensors", "-fo", "out.safetensors", *keeping).code == 0
    assert "at least 2 of a group kept" in run("info", "out.safetensors").out


@pytest.mark.parametrize("exact", [True, False])
def test_a_p_for_each_sample(run: Run, exact: bool) -> None:
    shape, over = (30, 12, 2, 2), {0: 1, 1: 1}
    x = torch.randn(shape)
    save_file({"x": x}, "in.safetensors")
    counted = ("--exact",) if exact else ("--min-keep", 4)
    options = ("-p", "0.1:0.9", "--p-per", "sample", "--mode", "channel", "--seed", 3, *counted)
    assert run("apply", "in.safetensors", "-o", "out.safetensors", *options).code == 0
    p = oracle.chances(0.1, 0.9, 30, "in", "x")
    key = oracle.key(3, "in", "x")
    cells = expected_drop(shape, over, p, exact, 0 if exact else 4, key)
    drop = spread_out(cells, shape, over)
    ours = load_file("out.safetensors")["x"]
    for number, chance in enumerate(p):
        sample = slice(number, number + 1)
        assert torch.equal(ours[sample], oracle.dropout(x[sample], drop[sample], chance))


def test_strides_of_pt_files(run: Run) -> None:
    x = torch.randn(8, 30, 20).permute(2, 1, 0)
    torch.save({"x": x}, "in.pt")
    save_file({"x": x.contiguous()}, "in.safetensors")
    options = ("--over", "0,1", "--exact", "-p", 0.3, "--seed", 1)
    for name in ("in.pt", "in.safetensors"):
        assert run("apply", name, "-o", f"out-{name}", *options).code == 0
    assert torch.equal(torch.load("out-in.pt")["x"], load_file("out-in.safetensors")["x"])


@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize(
    "counted", [{"exact": True}, {"min_keep": 2}, {"exact": True, "min_keep": 990}]
)
def test_any_range_and_any_order(counted: dict[str, Any], inner: int) -> None:
    shape = (2, 1000, inner)
    dropout = Dropout.of(1, p=0.37, over="0,2,1" if inner > 1 else "0,1", **counted)
    mask = FileMasks(dropout, "s", 0).mask_for(TensorInfo("t", DTYPES["F32"], shape, 0, 0))
    whole = np.empty(math.prod(shape), np.bool_)
    mask.keep(0, whole)
    chance = random.Random(1)
    for _ in range(50):
        start = chance.randrange(len(whole))
        part = np.empty(chance.randint(1, len(whole) - start), np.bool_)
        mask.keep(start, part)
        assert np.array_equal(part, whole[start : start + len(part)])
    order = np.random.default_rng(1).permutation(len(whole))
    assert np.array_equal(mask.keep_at(order), whole[order])


def test_ties_go_by_index() -> None:
    """If two words are equal and only one decision can drop, the first drops."""
    count = 1 << 20  # enough for a hundred pairs
    words = oracle.words(oracle.key(1, "s", "tensor"), count)
    order = np.argsort(words, kind="stable")
    ranks = np.flatnonzero(np.diff(words[order].astype(np.int64)) == 0)
    assert len(ranks) > 50
    for rank in (ranks[0], ranks[20], ranks[-1]):
        p = (rank + 1) / count
        keep = dropcli.keep_mask((count,), p=p, seed=1, stream="s", over=0, exact=True)
        expected = np.ones(count, np.bool_)
        expected[order[: rank + 1]] = False
        assert np.array_equal(keep, expected)


def test_groups_that_are_too_large_to_sort_are_refused() -> None:
    with pytest.raises(dropcli.ArgumentError) as raised:
        dropcli.keep_mask((2**23 + 1,), p=0.5, seed=1, stream="s", over=0, exact=True)
    assert raised.value.code == "group-too-large"
    keep = dropcli.keep_mask((2, 2**20), p=0.5, seed=1, stream="s", over=(0, 1), exact=True)
    assert keep.sum(axis=1).tolist() == [2**19, 2**19]


@pytest.mark.parametrize(
    ("p", "shape"), [(0.05, (4, 8, 2, 2)), (0.99, (4, 8, 2, 2)), (0.25, (4, 1, 8, 8))]
)
def test_a_p_that_groups_cannot_reach(run: Run, p: float, shape: Shape) -> None:
    save_file({"x": torch.randn(shape)}, "in.safetensors")
    options = ("-o", "out.safetensors", "--mode", "channel", "--exact", "--seed", 1)
    result = run("apply", "in.safetensors", *options, "-p", p, "--json")
    assert (result.code, result.errors) == (1, ["exact-out-of-reach"])
    assert ("0.125 to 0.875" in result.err) == (shape[1] == 8)
    assert not os.path.exists("out.safetensors")
    assert run("apply", "in.safetensors", *options, "-p", f"0:{p}").code == 0


@pytest.mark.parametrize(("least", "warned"), [("2", False), ("3", True), ("9", True)])
def test_a_min_keep_that_keeps_all_gives_a_warning(run: Run, least: str, warned: bool) -> None:
    save_file({"x": torch.ones(4, 3, 2, 2)}, "x.safetensors")
    given = f"apply x.safetensors -o y.safetensors --seed 7 --over 0,1 --min-keep {least}"
    words = given.split()
    (*_, file), warnings = (
        run(*words, "--json").json["files"],
        run(*words, "-n", "--json", "-f").json,
    )
    assert [warning["code"] for warning in warnings["warnings"]] == ["file-note"] * warned
    assert (file["tensors"][0]["dropped"] == 0) == warned
