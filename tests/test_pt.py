"""`.pt` files: every kind of object, rewritten without being loaded."""

import collections
import dataclasses
import datetime
import functools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Subset, TensorDataset

from tests import oracle
from tests.builders import apply_pt, dropped_pt, names_in
from tests.conftest import Run, shell


@dataclasses.dataclass
class Sample:
    image: torch.Tensor
    label: int


Pair = collections.namedtuple("Pair", ["x", "y"])  # pickled by the name of its module


class Graph:
    """Pickled like PyTorch Geometric's data: an object that holds a store of tensors."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self._store = tensors
        self.note = "none"


def test_a_bare_tensor(run: Run) -> None:
    x = torch.randn(100, 7)
    assert oracle.equal_bits(apply_pt(run, x), dropped_pt(x, "tensor"))
    assert names_in(run) == ["tensor"]


def test_p47_everything_people_keep(run: Run) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    content: dict[Any, Any] = {
        "bare": torch.randn(10),
        "list": [torch.randn(3), (torch.randn(2).bfloat16(), "text")],
        7: torch.randn(4).half(),
        "model": model.state_dict(),
        "data": TensorDataset(torch.randn(6, 2), torch.arange(6)),
        "subset": Subset(TensorDataset(torch.randn(6, 2)), [1, 2]),
        "sample": Sample(torch.randn(3), 5),
        "pair": Pair(torch.randn(3), torch.arange(2)),
        "graph": Graph(x=torch.randn(5, 2), edge_index=torch.arange(4)),
        "numpy": [np.arange(3.0), np.float64(2.5)],
        "double": torch.randn(3, dtype=torch.float64),
        "set": {1, 2},
        "none": None,
    }
    after = apply_pt(run, content, "--all-floats")
    for name, x, y in (
        ("bare", content["bare"], after["bare"]),
        ("list.0", content["list"][0], after["list"][0]),
        ("list.1.0", content["list"][1][0], after["list"][1][0]),
        ("7", content[7], after[7]),
        ("model.0.weight", content["model"]["0.weight"], after["model"]["0.weight"]),
        ("model.1.running_var", content["model"]["1.running_var"], after["model"]["1.running_var"]),
        ("data.tensors.0", content["data"].tensors[0], after["data"].tensors[0]),
        ("subset.dataset.tensors.0", content["subset"].dataset.tensors[0],
         after["subset"].dataset.tensors[0]),
        ("sample.image", content["sample"].image, after["sample"].image),
        ("pair.0", content["pair"].x, after["pair"].x),
        ("graph._store.x", content["graph"]._store["x"], after["graph"]._store["x"]),
        ("double", content["double"], after["double"]),
    ):  # fmt: skip
        assert oracle.equal_bits(y, dropped_pt(x, name)), name
    assert torch.equal(after["data"].tensors[1], torch.arange(6))
    assert torch.equal(after["model"]["1.num_batches_tracked"], torch.tensor(0))
    assert after["sample"].label == 5
    assert np.array_equal(after["numpy"][0], np.arange(3.0))
    assert after["set"] == {1, 2}
    assert {"data.tensors.0", "graph._store.edge_index", "pair.1"} <= set(names_in(run))


def test_a_list_of_pairs(run: Run) -> None:
    content = [(torch.randn(2, 3), i) for i in range(2000)]
    after = apply_pt(run, content)
    for i in range(0, 2000, 97):
        assert oracle.equal_bits(after[i][0], dropped_pt(content[i][0], f"{i}.0"))
        assert after[i][1] == i


def test_a_state_dict_and_its_safetensors_twin_get_the_same_masks(run: Run) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 9)).state_dict()
    save_file(state, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    twin, after = load_file("y.safetensors"), apply_pt(run, state)
    assert all(oracle.equal_bits(after[name], twin[name]) for name in state)


def test_parameters_keep_requires_grad(run: Run) -> None:
    after = apply_pt(run, {"w": torch.nn.Parameter(torch.randn(5)), "x": torch.randn(3)})
    assert isinstance(after["w"], torch.nn.Parameter)
    assert after["w"].requires_grad
    assert not after["x"].requires_grad
    assert torch.load("y.pt", weights_only=True)["x"].shape == (3,)


def test_names_that_clash_are_numbered(run: Run) -> None:
    torch.save(
        {"a.b": torch.ones(1), "a": {"b": torch.ones(2)}, 1: torch.ones(3), "1": torch.ones(4)},
        "x.pt",
    )
    assert names_in(run) == ["a.b", "a.b#2", "1", "1#2"]


def test_float8_and_unsigned(run: Run) -> None:
    x = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    content = {"f8": x, "u16": torch.arange(9).to(torch.uint16), "f": torch.ones(3)}
    after = apply_pt(run, content, "-k", "f8")
    drop = oracle.dropped((256,), 0.5, oracle.key(1, "x", "f8"))
    assert oracle.equal_bits(after["f8"], oracle.dropout(x, drop, 0.5))
    assert torch.equal(after["u16"], content["u16"])


def test_provenance(run: Run) -> None:
    content = {"x": torch.randn(10)}
    apply_pt(run, content)
    run("apply", "y.pt", "-o", "z.pt", "--seed", 2)
    entries = json.loads(zipfile.ZipFile("z.pt").read("x/dropcli.json"))
    assert [(e["settings"]["seed"], e["stream"]) for e in entries] == [(1, "x"), (2, "y")]
    assert torch.load("z.pt", weights_only=True)["x"].shape == (10,)
    assert "seed 2" in run("info", "z.pt").out
    run("apply", "x.pt", "-o", "w.pt", "--no-provenance", "-p", 0)
    assert torch.load("w.pt", weights_only=True)["x"].equal(content["x"])
    assert zipfile.ZipFile("w.pt").namelist() == zipfile.ZipFile("x.pt").namelist()


def test_the_kind_is_found_by_content_and_pipes_work(run: Run) -> None:
    torch.save({"x": torch.randn(1000)}, "x.pt")
    os.rename("x.pt", "x.safetensors")
    assert run("info", "x.safetensors", "--json").json["files"][0]["format"] == "pt"
    piped = shell("cat x.safetensors | dropcli apply - -o - --stream x --seed 1 | cat")
    assert piped.returncode == 0, piped.stderr
    os.rename("x.safetensors", "x.pt")
    run("apply", "x.pt", "-o", "y.pt", "--seed", 1)
    assert piped.stdout == Path("y.pt").read_bytes()


def test_other_objects_of_trainers_are_copied(run: Run) -> None:
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    content: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "module": model,
        "dtype": [torch.float16, np.float32, np.dtype("i4"), torch.Size([2])],
        "rng": [np.random.default_rng(0), np.random.RandomState(0), torch.get_rng_state()],
        "path": [Path("x"), Path],
        "when": datetime.datetime(2020, 1, 1),
        "partial": functools.partial(torch.nn.functional.relu, inplace=True),
    }
    after = apply_pt(run, content, "--all-floats")
    assert run("apply", "x.pt", "-fo", "y.pt", "--all-floats").err == ""
    assert after["dtype"] == content["dtype"]
    weight = content["optimizer"]["state"][0]["exp_avg"]
    name = "optimizer.state.0.exp_avg"
    assert oracle.equal_bits(after["optimizer"]["state"][0]["exp_avg"], dropped_pt(weight, name))


def test_names_never_collide(run: Run) -> None:
    content: dict[str, Any] = {
        "x.y": torch.ones(80),
        "x": {"y": torch.ones(90)},
        "x.y#2": torch.ones(64),
    }
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    names = [tensor["name"] for tensor in result.json["files"][0]["tensors"]]
    assert names == ["x.y", "x.y#2", "x.y#2#2"]
    after = torch.load("y.pt", weights_only=True)
    assert all((x == 0).any() for x in (after["x.y"], after["x"]["y"], after["x.y#2"]))


class Nested:
    def __init__(self) -> None:
        self.pair = (torch.ones(30), torch.ones(30))

    def __getstate__(self) -> Any:
        return (self.pair, 1)

    def __setstate__(self, state: Any) -> None:
        self.pair = state[0]


def test_tensors_in_unusual_places_are_found(run: Run) -> None:
    x = torch.ones(30)
    x.extra = torch.ones(30)  # type: ignore[attr-defined]  # which is the point
    w = torch.nn.Parameter(torch.ones(30))
    w.extra = torch.ones(30)  # type: ignore[attr-defined]
    torch.save({"n": Nested(), "x": x, "w": w}, "x.pt")
    found = [t["name"] for t in run("info", "--json", "x.pt").json["files"][0]["tensors"]]
    assert sorted(found) == ["n.0.0", "n.0.1", "w", "w.extra", "x", "x.extra"]
    run("apply", "x.pt", "-o", "y.pt", "-q")
    after = torch.load("y.pt", weights_only=False)
    for tensor in (*after["n"].pair, after["x"], after["x"].extra, after["w"], after["w"].extra):
        assert (tensor == 0).any()


def test_the_alignment_of_the_archive_is_kept(run: Run) -> None:
    from torch.utils.serialization import config

    before = config.save.storage_alignment
    config.save.storage_alignment = 4096
    try:
        torch.save({"x": torch.randn(1000)}, "x.pt")
    finally:
        config.save.storage_alignment = before
    run("apply", "x.pt", "-o", "y.pt", "-q")
    data = Path("y.pt").read_bytes()
    at = zipfile.ZipFile("y.pt").getinfo("x/data/0").header_offset
    sizes = [int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28)]
    assert (at + 30 + sum(sizes)) % 4096 == 0


def test_p48_scalars_and_counters(run: Run) -> None:
    content = {"scale": torch.tensor(2.5), "num_batches_tracked": torch.tensor(7)}
    torch.save(content, "x.pt")
    options = ("--json", "--all-floats")
    tensors = run("apply", "x.pt", "-o", "y.pt", *options).json["files"][0]["tensors"]
    assert {t["name"]: (t["action"], t["decisions"]) for t in tensors} == {
        "scale": ("dropped", 1),
        "num_batches_tracked": ("copied", 0),
    }
    assert torch.load("y.pt")["num_batches_tracked"] == 7


def test_p51_a_file_without_tensors_is_an_error_unless_nothing_is_to_drop(run: Run) -> None:
    torch.save({"lr": 0.1}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["nothing-selected"])
    assert not Path("y.pt").exists()
    assert run("apply", "x.pt", "-o", "y.pt", "--eval").code == 0
    assert torch.load("y.pt") == {"lr": 0.1}


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz),
    *(torch.float8_e5m2fnuz, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.bool),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_p52_every_dtype_is_copied_or_dropped(run: Run, dtype: torch.dtype) -> None:
    x = torch.arange(1, 41).to(dtype)
    torch.save({"x": x}, "x.pt")
    assert run("apply", "x.pt", "-o", "y.pt", "-q", "--eval").code == 0
    assert oracle.equal_bits(torch.load("y.pt", weights_only=True)["x"], x)
    options = ("-k", "x", "--no-rescale", "--seed", 1, "-p", 1)
    assert run("apply", "x.pt", "-o", "z.pt", "-q", *options).code == 0
    assert not torch.load("z.pt", weights_only=True)["x"].to(torch.complex128).any()


def test_tensors_after_many_plain_values(run: Run) -> None:
    """Plain values of long containers are not kept, but their positions are."""
    content = {
        "long": [*range(70), torch.ones(3), *["text"] * 3000, torch.ones(3)],
        "wide": {f"key {number}": number for number in range(3000)} | {"x": torch.ones(3)},
        "set": set(range(100)),
        "t": (*range(100), torch.ones(3)),
    }
    apply_pt(run, content)
    assert names_in(run) == ["long.70", "long.3071", "wide.x", "t.100"]
    for number in (3, 500, 3000):
        tensors = {f"x{number}": torch.ones(2) for number in range(number)}
        torch.save({**tensors, "plain": 1, "other": 2}, "x.pt")
        result = run("apply", "x.pt", "-o", "y.safetensors")
        assert result.code == 1
        assert "'plain'" in result.err
