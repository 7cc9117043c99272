"""Views, ties and special tensors in `.pt` files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import oracle
from tests.builders import apply_pt, dropped_pt, tensor
from tests.conftest import Run
from tests.refusal import Refuse

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
    after = apply_pt(run, {"x": x}, "-k", "x")
    assert after["x"].stride() == x.stride()
    assert oracle.equal_bits(after["x"], dropped_pt(x, "x"))


@pytest.mark.parametrize("over", [{0: 1}, {0: 1, 1: 1}, {1: 2, 3: 3}], ids=str)
def test_p42_grids_follow_logical_indices(run: Run, over: dict[int, int]) -> None:
    x = torch.randn(6, 5, 8, 9).to(memory_format=torch.channels_last)
    option = ",".join(f"{dimension}:{block}" for dimension, block in over.items())
    after = apply_pt(run, x, "--over", option)
    drop = oracle.dropped((6, 5, 8, 9), 0.5, oracle.key(1, "x", "tensor"), over)
    assert oracle.equal_bits(after, oracle.dropout(x.contiguous(), drop, 0.5))


def test_p41_views_of_one_storage_stay_views(run: Run) -> None:
    base = torch.randn(50, 6)
    content = {"x": base[:, :4], "y": base[:, 4], "row": torch.randn(4, 5)[1]}
    after = apply_pt(run, content, "--all-floats")
    assert after["x"].untyped_storage().data_ptr() == after["y"].untyped_storage().data_ptr()
    for name, x in content.items():
        assert oracle.equal_bits(after[name], dropped_pt(x, name))
    untouched = torch.as_strided(after["x"], (50,), (6,), 5)
    assert torch.equal(untouched, base[:, 5])


def test_p50_tied_tensors_stay_tied_and_are_dropped_once(run: Run, refuse: Refuse) -> None:
    w = torch.randn(20, 30)
    content = {"encoder": w, "decoder": w.detach(), "again": w}
    after = apply_pt(run, content)
    assert after["encoder"].data_ptr() == after["decoder"].data_ptr()
    assert after["encoder"] is after["again"]
    assert oracle.equal_bits(after["encoder"], dropped_pt(w, "encoder"))
    document = run("apply", "x.pt", "-fo", "y.pt", "--seed", 1, "--json").json
    actions = {t["name"]: t["action"] for t in document["files"][0]["tensors"]}
    assert actions == {"encoder": "dropped", "decoder": "tied", "again": "tied"}
    refusal = refuse("apply", "x.pt", "-fo", "y.pt", "-k", "decoder")
    assert refusal.code == "half-of-a-tie"
    assert all(name in refusal.line for name in ("'encoder'", "'decoder'"))


def test_a_transpose_is_the_same_memory(run: Run) -> None:
    t = torch.randn(20, 30)
    after = apply_pt(run, {"a": t, "b": t.t()})
    assert oracle.equal_bits(after["a"], dropped_pt(t, "a"))
    assert torch.equal(after["a"].t(), after["b"])


def test_ties_of_other_layouts_are_dropped_once_when_converted(run: Run) -> None:
    x = torch.rand(40, 30) + 0.5
    torch.save({"a": x, "b": x.t(), "c": x.view(30, 40), "n": torch.arange(3)}, "x.pt")
    kept = run("apply", "x.pt", "-o", "y.pt", "--seed", 7, "--json").json
    converted = run("apply", "x.pt", "-o", "y.safetensors", "--seed", 7, "--json").json
    expected, got = torch.load("y.pt"), load_file("y.safetensors")
    for name in ("a", "b", "c"):
        assert torch.equal(got[name], expected[name])
    assert converted["files"][0]["tensors"] == kept["files"][0]["tensors"]


@pytest.mark.filterwarnings("ignore")
def test_p39_p40_memory_that_is_shared_in_part_is_refused(run: Run, refuse: Refuse) -> None:
    """One element cannot have two decisions."""
    base, few, u = torch.randn(100), torch.ones(6), torch.arange(1, 9).to(torch.uint32)
    sparse = torch.sparse_coo_tensor(torch.arange(6)[None], few, (6,))
    for content, code, named, options in (
        ({"a": base[:60], "b": base[40:]}, "overlapping-tensors", "'a' 'b'", ""),
        ({"a": u, "b": u.view(torch.uint16)[1::2]}, "overlapping-tensors", "'a'", "--no-rescale"),
        ({"a": few, "s": sparse}, "overlapping-tensors", "'a'", ""),
        ({"a": few, "b": few._neg_view()}, "overlapping-tensors", "'a' 'b'", ""),
        ({"a": few[:3].expand(4, 3), "i": torch.arange(3)}, "overlapping-elements", "'a'", ""),
        ({"a": few, "b": few[:1].expand(2**40)}, "overlapping-elements", "'b'", ""),
        ({"a": few, "b": few[:1].expand(2**40)}, "overlapping-tensors", "'a' 'b'", "-k a"),
    ):
        options += " -k a" * ("--no-rescale" in options)
        torch.save(content, "x.pt")
        refusal = refuse("apply", "x.pt", "-o", "y.pt", *options.split())
        assert refusal.code == code
        assert refusal.line.startswith("x.pt: tensor ")
        assert all(name in refusal.line for name in named.split())
    assert run("apply", "x.pt", "-o", "y.pt", "--exclude", "a", "--eval").code == 0
    Path("x.pt").write_bytes(tensor(size=2**40, stride=0))
    assert run("info", "x.pt").code == 0
    assert refuse("apply", "x.pt", "-o", "z.pt").code == "overlapping-elements"


X = torch.rand(4, 3)
SPECIAL: dict[str, Callable[[], torch.Tensor]] = {
    "P43 conj": lambda: torch.randn(3, dtype=torch.complex64).conj(),
    "P44 per tensor": lambda: torch.quantize_per_tensor(X, 0.1, 3, torch.qint8),
    "P44 per channel": lambda: torch.quantize_per_channel(
        X, torch.ones(4), torch.zeros(4), 0, torch.quint8
    ),
    "P45 sparse": lambda: torch.eye(3).to_sparse(),
    "P45 csr": lambda: torch.eye(3).to_sparse_csr(),
    "P46 meta": lambda: torch.ones(3, device="meta"),
    "P46 nested": lambda: torch.nested.nested_tensor([X, X[:2]]),
    "P46 jagged": lambda: torch.nested.nested_tensor([X, X[:2]], layout=torch.jagged),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_tensors_are_copied_and_refused_by_name(
    run: Run, refuse: Refuse, kind: str
) -> None:
    content = {"s": SPECIAL[kind](), "x": torch.randn(50)}
    after = apply_pt(run, content)
    assert oracle.equal_bits(after["x"], dropped_pt(content["x"], "x"))
    before, written = zipfile.ZipFile("x.pt"), zipfile.ZipFile("y.pt")
    differing = [name for name in before.namelist() if before.read(name) != written.read(name)]
    assert len(differing) == 1
    refusal = refuse("apply", "x.pt", "-o", "z.pt", "-k", "s")
    assert (refusal.code, "tensor 's': " in refusal.line) == ("special-tensor", True)
