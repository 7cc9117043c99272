"""`.pt` files: every kind of object, rewritten without being loaded."""

import collections
import dataclasses
import datetime
import functools
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Subset, TensorDataset

from tests import oracle
from tests.builders import archive, tensor_pickle
from tests.conftest import Run, shell


@dataclasses.dataclass
class Sample:
    image: torch.Tensor
    label: int


Pair = collections.namedtuple("Pair", ["x", "y"])  # its old pickled form is meant


class Graph:
    """Pickled as PyTorch Geometric's data are: an object that holds a store of tensors."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self._store = tensors
        self.note = "none"


def expected(x: torch.Tensor, name: str, p: float = 0.5, stream: str = "x") -> torch.Tensor:
    drop = oracle.dropped(tuple(x.shape), p, oracle.key(1, stream, name))
    return oracle.dropout(x.contiguous(), drop, p)


def apply(run: Run, content: Any, *options: object) -> Any:
    """Save, run the command, check the archive, and load what came out."""
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-fo", "y.pt", "--seed", 1, "-q", *options)
    assert result.code == 0, result.err
    before, after = zipfile.ZipFile("x.pt"), zipfile.ZipFile("y.pt")
    assert after.testzip() is None
    assert after.namelist() == [*before.namelist(), "x/dropcli.json"]
    assert after.read("x/data.pkl") == before.read("x/data.pkl")
    assert offsets_are_aligned("y.pt")
    for mmap in (False, True):
        loaded = torch.load("y.pt", weights_only=False, mmap=mmap)
    return loaded


def offsets_are_aligned(path: str) -> bool:
    data = Path(path).read_bytes()
    for info in zipfile.ZipFile(path).infolist():
        at = info.header_offset
        names = [int.from_bytes(data[at + 26 + 2 * i : at + 28 + 2 * i], "little") for i in (0, 1)]
        if (at + 30 + sum(names)) % 64:
            return False
    return True


def names(run: Run, path: str = "x.pt") -> list[str]:
    return [t["name"] for t in run("info", "--json", path).json["files"][0]["tensors"]]


def test_a_bare_tensor(run: Run) -> None:
    x = torch.randn(100, 7)
    assert oracle.equal_bits(apply(run, x), expected(x, "tensor"))
    assert names(run) == ["tensor"]


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
    after = apply(run, content, "--all-floats")
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
        assert oracle.equal_bits(y, expected(x, name)), name
    assert torch.equal(after["data"].tensors[1], torch.arange(6))
    assert torch.equal(after["model"]["1.num_batches_tracked"], torch.tensor(0))
    assert after["sample"].label == 5
    assert np.array_equal(after["numpy"][0], np.arange(3.0))
    assert after["set"] == {1, 2}
    assert {"data.tensors.0", "graph._store.edge_index", "pair.1"} <= set(names(run))


def test_a_list_of_pairs(run: Run) -> None:
    content = [(torch.randn(2, 3), i) for i in range(2000)]
    after = apply(run, content)
    for i in range(0, 2000, 97):
        assert oracle.equal_bits(after[i][0], expected(content[i][0], f"{i}.0"))
        assert after[i][1] == i


def test_a_state_dict_and_its_safetensors_twin_get_the_same_masks(run: Run) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 9)).state_dict()
    save_file(state, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    twin, after = load_file("y.safetensors"), apply(run, state)
    assert all(oracle.equal_bits(after[name], twin[name]) for name in state)


VIEWS: dict[str, Callable[[], torch.Tensor]] = {
    "transposed": lambda: torch.randn(30, 50).t(),
    "channels last": lambda: torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last),
    "sliced": lambda: torch.randn(20, 30)[:, 3:17],
    "stepped": lambda: torch.randn(1000)[5::3],
    "permuted": lambda: torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
    "large": lambda: torch.randn(700, 900).t(),
    "half": lambda: torch.randn(300, 500).half().t(),
    "double": lambda: torch.randn(40, 50, dtype=torch.float64)[::2, ::3],
    "complex": lambda: torch.randn(40, 50, dtype=torch.complex128).t(),
    "size one": lambda: torch.randn(1, 7, 1, 9).transpose(1, 3),
}


@pytest.mark.parametrize("view", VIEWS)
def test_masks_follow_logical_indices(run: Run, view: str) -> None:
    x = VIEWS[view]()
    after = apply(run, {"x": x}, "-k", "x")
    assert after["x"].stride() == x.stride()
    assert oracle.equal_bits(after["x"], expected(x, "x"))


@pytest.mark.parametrize("over", [{0: 1}, {0: 1, 1: 1}, {1: 2, 3: 3}], ids=str)
def test_p42_grids_follow_logical_indices(run: Run, over: dict[int, int]) -> None:
    x = torch.randn(6, 5, 8, 9).to(memory_format=torch.channels_last)
    option = ",".join(f"{dimension}:{block}" for dimension, block in over.items())
    after = apply(run, x, "--over", option)
    drop = oracle.dropped((6, 5, 8, 9), 0.5, oracle.key(1, "x", "tensor"), over)
    assert oracle.equal_bits(after, oracle.dropout(x.contiguous(), drop, 0.5))


def test_p41_views_of_one_storage_stay_views(run: Run) -> None:
    base = torch.randn(50, 6)
    content = {"x": base[:, :4], "y": base[:, 4], "row": torch.randn(4, 5)[1]}
    after = apply(run, content, "--all-floats")
    assert after["x"].untyped_storage().data_ptr() == after["y"].untyped_storage().data_ptr()
    for name, x in content.items():
        assert oracle.equal_bits(after[name], expected(x, name))
    untouched = torch.as_strided(after["x"], (50,), (6,), 5)
    assert torch.equal(untouched, base[:, 5])


def test_p50_tied_tensors_stay_tied_and_are_dropped_once(run: Run) -> None:
    w = torch.randn(20, 30)
    content = {"encoder": w, "decoder": w.detach(), "again": w}
    after = apply(run, content)
    assert after["encoder"].data_ptr() == after["decoder"].data_ptr()
    assert after["encoder"] is after["again"]
    assert oracle.equal_bits(after["encoder"], expected(w, "encoder"))
    document = run("apply", "x.pt", "-fo", "y.pt", "--seed", 1, "--json").json
    actions = {t["name"]: t["action"] for t in document["files"][0]["tensors"]}
    assert actions == {"encoder": "dropped", "decoder": "tied", "again": "tied"}
    result = run("apply", "x.pt", "-fo", "y.pt", "-k", "decoder", "--json")
    assert (result.code, result.errors) == (1, ["half-of-a-tie"])
    assert "'encoder'" in result.err
    assert "'decoder'" in result.err


def test_p40_partial_overlap_names_both(run: Run) -> None:
    base = torch.randn(100)
    torch.save({"a": base[:60], "b": base[40:]}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["overlapping-tensors"])
    assert "'a'" in result.err
    assert "'b'" in result.err
    assert not Path("y.pt").exists()
    torch.save({"a": torch.randn(3).expand(4, 3), "i": torch.arange(3)}, "x.pt")
    assert run("apply", "x.pt", "-o", "y.pt", "--json").errors == ["overlapping-elements"]
    assert run("apply", "x.pt", "-o", "y.pt", "--exclude", "a", "--eval").code == 0


def test_parameters_keep_requires_grad(run: Run) -> None:
    after = apply(run, {"w": torch.nn.Parameter(torch.randn(5)), "x": torch.randn(3)})
    assert isinstance(after["w"], torch.nn.Parameter)
    assert after["w"].requires_grad
    assert not after["x"].requires_grad
    assert torch.load("y.pt", weights_only=True)["x"].shape == (3,)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_p43_p45_p46_special_tensors_are_copied_and_refused_by_name(run: Run) -> None:
    content = {
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "meta": torch.ones(3, device="meta"),
        "conj": torch.randn(3, dtype=torch.complex64).conj(),
        "plain": torch.randn(9),
    }
    after = apply(run, content)
    assert torch.equal(after["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(after["conj"], content["conj"])
    assert oracle.equal_bits(after["plain"], expected(content["plain"], "plain"))
    for name in ("sparse", "csr", "meta", "conj"):
        result = run("apply", "x.pt", "-o", "z.pt", "-k", name, "--json")
        assert (result.code, result.errors) == (1, ["special-tensor"])
        assert f"tensor '{name}': " in result.err


def test_names_that_clash_are_numbered(run: Run) -> None:
    torch.save(
        {"a.b": torch.ones(1), "a": {"b": torch.ones(2)}, 1: torch.ones(3), "1": torch.ones(4)},
        "x.pt",
    )
    assert names(run) == ["a.b", "a.b#2", "1", "1#2"]


def test_float8_and_unsigned(run: Run) -> None:
    x = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    content = {"f8": x, "u16": torch.arange(9).to(torch.uint16), "f": torch.ones(3)}
    after = apply(run, content, "-k", "f8")
    drop = oracle.dropped((256,), 0.5, oracle.key(1, "x", "f8"))
    assert oracle.equal_bits(after["f8"], oracle.dropout(x, drop, 0.5))
    assert torch.equal(after["u16"], content["u16"])


def test_unknown_classes_are_named_and_never_imported(run: Run) -> None:
    module = "tests_stranger_module"
    Path(f"{module}.py").write_text("class Thing:\n    pass\nprint('imported', flush=True)\n")
    save = f"import torch, {module} as m; t = m.Thing(); t.x = torch.ones(5); torch.save(t, 'x.pt')"
    assert shell(f'{sys.executable} -c "{save}"').returncode == 0
    done = shell("dropcli apply x.pt -o y.pt --seed 1 -q; dropcli info x.pt")
    assert b"imported" not in done.stdout
    assert names(run) == ["x"]
    result = run("apply", "x.pt", "-fo", "y.pt")
    assert f"{module}.Thing" in result.err


def test_verbose_names_every_stranger(run: Run) -> None:
    calls = b"".join(f"cpackage\nClass{i}\n)R".encode() for i in range(5))
    Path("x.pt").write_bytes(archive(b"\x80\x02](" + calls + b"e."))
    assert "package.Class2, ..." in run("apply", "x.pt", "-o", "y.pt", "--eval").err
    assert "package.Class3, package.Class4)" in run("apply", "x.pt", "-fvo", "y.pt", "--eval").err


def test_p18_p32_bytes_that_follow_are_noted(run: Run) -> None:
    good = archive(tensor_pickle(), **{"data/0": bytes(16)})
    for data in (good + b"junk", archive(tensor_pickle() + b"junk", **{"data/0": bytes(16)})):
        Path("x.pt").write_bytes(data)
        result = run("apply", "x.pt", "-fo", "y.pt", "--json", "--all-floats")
        assert (result.code, result.warnings) == (0, ["file-note"])
        assert " 4 bytes " in result.err
        assert zipfile.ZipFile("y.pt").testzip() is None
    Path("x.pt").write_bytes(good)
    assert run("apply", "x.pt", "-fo", "y.pt", "--all-floats").err == ""


def test_p03_checksums_are_verified(run: Run) -> None:
    torch.save({"x": torch.randn(1000), "n": torch.arange(9)}, "x.pt")
    good = Path("x.pt").read_bytes()
    info = {i.filename: i for i in zipfile.ZipFile("x.pt").infolist()}
    for member in ("x/data/0", "x/data/1", "x/data.pkl", "x/version"):
        at = info[member].header_offset + 64 * 2
        bad = bytearray(good)
        start = good.index(zipfile.ZipFile("x.pt").read(member)[:16], info[member].header_offset)
        bad[start] ^= 1
        Path("bad.pt").write_bytes(bad)
        result = run("apply", "bad.pt", "-o", "y.pt", "--json")
        assert (result.code, result.errors) == (1, ["wrong-checksum"])
        assert member in result.err, at
        assert not Path("y.pt").exists()


def test_p04_files_without_checksums_are_taken(run: Run) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.randn(1000)}, "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.warnings) == (0, ["file-note"])
    assert "checksums" in result.err
    assert zipfile.ZipFile("y.pt").testzip() is None


def test_provenance(run: Run) -> None:
    content = {"x": torch.randn(10)}
    apply(run, content)
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


def test_p23_legacy_files_leave_as_zip_files(run: Run) -> None:
    content = {"x": torch.randn(100), "n": torch.arange(5)}
    torch.save(content, "x.pt", _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    assert (result.code, result.warnings) == (0, ["file-note"])
    after = torch.load("y.pt", weights_only=True, mmap=True)
    assert oracle.equal_bits(after["x"], expected(content["x"], "x"))
    assert torch.equal(after["n"], content["n"])
    assert "torch 1.6" in result.err
    Path("bad.pt").write_bytes(Path("x.pt").read_bytes()[:-50])
    assert run("apply", "bad.pt", "-o", "z.pt").code == 1


def test_p49_legacy_files_saved_on_a_gpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(100)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"x": x}, "x.pt", _use_new_zipfile_serialization=False)
        torch.save({"x": x}, "z.pt")
    assert b"cuda:0" in Path("x.pt").read_bytes()
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "-q").code == 0
    assert oracle.equal_bits(torch.load("y.pt", weights_only=True)["x"], expected(x, "x"))
    run("apply", "z.pt", "-fo", "y.pt", "--seed", 1, "--stream", "x", "-q")
    after = torch.load("y.pt", map_location="cpu")
    assert oracle.equal_bits(after["x"], expected(x, "x"))


def test_what_trainers_keep_beside_tensors(run: Run) -> None:
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
    after = apply(run, content, "--all-floats")
    assert run("apply", "x.pt", "-fo", "y.pt", "--all-floats").err == ""
    assert after["dtype"] == content["dtype"]
    weight = content["optimizer"]["state"][0]["exp_avg"]
    name = "optimizer.state.0.exp_avg"
    assert oracle.equal_bits(after["optimizer"]["state"][0]["exp_avg"], expected(weight, name))


def test_ties_of_other_layouts_are_dropped_once_when_converted(run: Run) -> None:
    x = torch.rand(40, 30) + 0.5
    torch.save({"a": x, "b": x.t(), "c": x.view(30, 40), "n": torch.arange(3)}, "x.pt")
    kept = run("apply", "x.pt", "-o", "y.pt", "--seed", 7, "--json").json
    converted = run("apply", "x.pt", "-o", "y.safetensors", "--seed", 7, "--json").json
    expected, got = torch.load("y.pt"), load_file("y.safetensors")
    for name in ("a", "b", "c"):
        assert torch.equal(got[name], expected[name])
    assert converted["files"][0]["tensors"] == kept["files"][0]["tensors"]


def test_p33_deep_nesting_is_walked_without_recursion(run: Run) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))
    result = run("info", "x.pt")
    assert result.code == 0, result.err
    assert "0 tensors" in result.out


def test_p39_an_enormous_expanded_tensor_costs_nothing(run: Run) -> None:
    Path("x.pt").write_bytes(archive(tensor_pickle(size=2**40, stride=0), **{"data/0": bytes(16)}))
    assert run("info", "x.pt").code == 0
    assert run("apply", "x.pt", "-o", "y.pt").code == 1


def test_a17_conversion_to_safetensors(run: Run) -> None:
    w = torch.randn(20, 30)
    content: dict[str, Any] = {
        "w": w,
        "tied": w.detach(),
        "t": torch.randn(300, 500).t(),
        "cut": torch.randn(40, 50)[::2, ::3],
        "expanded": torch.randn(3).expand(4, 3),
        "deep": [{"x": torch.randn(7).half()}, torch.arange(5)],
        "scalar": torch.tensor(2.5),
        "empty": torch.ones(0, 3),
    }
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.safetensors", "--seed", 1, "--exclude", "expanded",
                 "--all-floats")  # fmt: skip
    assert result.code == 0, result.err
    after = load_file("y.safetensors")
    for name, x in (
        *((name, content[name]) for name in ("w", "t", "cut", "scalar")),
        ("deep.0.x", content["deep"][0]["x"]),
    ):
        assert oracle.equal_bits(after[name], expected(x, name)), name
    assert torch.equal(after["tied"], after["w"])
    assert torch.equal(after["expanded"], content["expanded"])
    assert torch.equal(after["deep.1"], torch.arange(5))
    assert after["empty"].shape == (0, 3)
    assert "seed 1" in run("info", "y.safetensors").out

    bad = bytearray(Path("x.pt").read_bytes())
    bad[bad.index(zipfile.ZipFile("x.pt").read("x/data/0")) + 5] ^= 1
    Path("bad.pt").write_bytes(bad)
    result = run("apply", "bad.pt", "-o", "z.safetensors", "--exclude", "expanded", "--json")
    assert (result.code, result.errors) == (1, ["wrong-checksum"])
    assert "x/data/0" in result.err
    assert not Path("z.safetensors").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"x": torch.ones(3), "label": 5},
        [torch.ones(3), "text"],
        {"x": torch.ones(3, dtype=torch.complex128)},
        {"x": torch.eye(3).to_sparse()},
        {"x": torch.ones(3), "n": np.ones(3)},
    ],
    ids=["int", "text", "complex128", "sparse", "numpy"],
)
def test_what_safetensors_cannot_hold_is_refused(run: Run, content: Any) -> None:
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.safetensors", "--json")
    assert result.code == 1
    assert result.errors[0] in ("not-only-tensors", "not-in-safetensors")
    assert result.err.startswith("error: x.pt: ")
    assert not Path("y.safetensors").exists()


def test_conversion_to_pt(run: Run) -> None:
    content = {
        "a.w": torch.randn(70, 30),
        "é": torch.randn(5).bfloat16(),
        "f8": torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2),
        "u": torch.arange(5).to(torch.uint32),
        "scalar": torch.tensor(1.5),
        "empty": torch.ones(2, 0),
        "b": torch.tensor([True, False]),
    }
    save_file(content, "x.safetensors", {"made": "by a test"})
    result = run("apply", "x.safetensors", "-o", "y.pt", "--seed", 1, "--json")
    assert (result.code, result.errors) == (1, ["not-in-pt"])
    assert "'made'" in result.err
    assert not Path("y.pt").exists()
    save_file(content, "x.safetensors", {"format": "pt"})
    result = run("apply", "x.safetensors", "-o", "y.pt", "--seed", 1, "--all-floats")
    assert result.code == 0, result.err
    assert zipfile.ZipFile("y.pt").testzip() is None
    assert offsets_are_aligned("y.pt")
    for mmap in (False, True):
        after = torch.load("y.pt", weights_only=True, mmap=mmap)
        assert after.keys() == content.keys()
        for name, x in content.items():
            kept = x if name in ("f8", "u", "b") else expected(x, name)
            assert oracle.equal_bits(after[name], kept), name
    back = run("apply", "y.pt", "-o", "z.safetensors", "--eval", "--no-provenance")
    assert back.code == 0, back.err
    again = load_file("z.safetensors")
    assert all(oracle.equal_bits(again[name], after[name]) for name in content)


def test_conversion_from_a_pipe() -> None:
    save_file({"x": torch.randn(1000)}, "x.safetensors")
    done = shell("cat x.safetensors | dropcli apply - -o y.pt --seed 1 -q")
    assert done.returncode == 0, done.stderr
    assert torch.load("y.pt", weights_only=True)["x"].shape == (1000,)
