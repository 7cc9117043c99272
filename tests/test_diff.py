"""`dropcli diff`: counts, factor and first difference against torch, on any two files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run, shell
from tests.refusal import Refuse


def diff(run: Run, *words: object) -> tuple[int, dict[str, dict[str, Any]]]:
    result = run("diff", *words, "--json")
    (file,) = result.json["files"]
    assert file["status"] == ("different" if result.code else "same")
    return result.code, {tensor["name"]: tensor for tensor in file["tensors"]}


FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.3, 0.5])
def test_dropout_shows_as_zeros_and_one_factor(run: Run, dtype: torch.dtype, p: float) -> None:
    x = torch.randn(300, 7, 100).to(dtype)
    save_file({"x": x, "ids": torch.arange(300)}, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", p, "--seed", 1)
    code, found = diff(run, "x.safetensors", "y.safetensors")
    y = load_file("y.safetensors")["x"]
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    changed = x.view(integer) != y.view(integer)
    assert (code, found["ids"]["status"], found["x"]["status"]) == (4, "equal", "changed")
    assert found["x"]["changed"] == int(changed.sum())
    assert found["x"]["zeroed"] == int(((x != 0) & (y == 0)).sum())
    assert found["x"]["factor"] == pytest.approx(1 / (1 - p), rel=torch.finfo(dtype).eps)
    index = [int(i) for i in changed.nonzero()[0]]
    first = {"index": index, "before": x[tuple(index)].item(), "after": y[tuple(index)].item()}
    assert found["x"]["first"] == first


def test_without_scaling_the_factor_is_one(run: Run) -> None:
    save_file({"x": torch.randn(500)}, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--no-rescale")
    assert diff(run, "x.safetensors", "y.safetensors")[1]["x"]["factor"] == 1


def test_other_changes_have_a_range_of_factors(run: Run) -> None:
    save_file({"x": torch.tensor([1.0, 2.0, 4.0])}, "x.safetensors")
    save_file({"x": torch.tensor([1.0, 3.0, -4.0])}, "y.safetensors")
    tensor = diff(run, "x.safetensors", "y.safetensors")[1]["x"]
    assert (tensor["factor"], tensor["factor_min"], tensor["factor_max"]) == (None, -1.0, 1.5)
    assert (tensor["changed"], tensor["zeroed"]) == (2, 0)


def test_formats_and_layouts_do_not_matter(run: Run) -> None:
    x = torch.randn(30, 40)
    torch.save({"a": x.t(), "b": {"c": x[:, 3:9]}}, "x.pt")
    save_file({"a": x.t().contiguous(), "b.c": x[:, 3:9].contiguous()}, "x.safetensors")
    assert diff(run, "x.pt", "x.safetensors")[0] == 0
    assert run("diff", "x.safetensors", "x.pt", "-q").code == 0
    other = x.clone()
    other[11, 4] += 1
    torch.save({"a": other.t(), "b": {"c": x[:, 3:9]}}, "y.pt")
    code, found = diff(run, "x.pt", "y.pt")
    assert (code, found["a"]["first"]["index"], found["b.c"]["status"]) == (4, [4, 11], "equal")


def test_tensors_of_one_file_only_and_of_another_kind(run: Run) -> None:
    save_file({"a": torch.ones(3), "b": torch.ones(3), "c": torch.ones(3)}, "x.safetensors")
    save_file({"b": torch.ones(3, 1), "c": torch.ones(3).half(), "d": torch.ones(1)},
              "y.safetensors")  # fmt: skip
    code, found = diff(run, "x.safetensors", "y.safetensors")
    states = {name: tensor["status"] for name, tensor in found.items()}
    assert (code, states) == (4, {"a": "only-in-a", "b": "kind", "c": "kind", "d": "only-in-b"})
    out = run("diff", "x.safetensors", "y.safetensors").out
    assert "F32 → F16" in out
    assert "3 → 3x1" in out


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor(True),
        torch.randint(0, 9, (50,), dtype=torch.uint8),
        torch.tensor([2**62, -1, 0] * 5),
        torch.randn(50, dtype=torch.complex64),
        torch.randn(50).to(torch.float8_e4m3fn),
        torch.tensor([torch.nan, torch.inf, -0.0, 1e-45]),
        torch.empty(0, 3),
        torch.tensor(1.5),
    ],
    ids=lambda x: f"{x.dtype}-{x.numel()}",
)
def test_every_dtype_is_compared(run: Run, x: torch.Tensor) -> None:
    save_file({"x": x}, "x.safetensors")
    torch.save({"x": x}, "x.pt")
    assert diff(run, "x.safetensors", "x.pt")[0] == 0
    if x.numel():
        save_file({"x": torch.zeros_like(x) if x.dtype != torch.bool else ~x}, "y.safetensors")
        code, found = diff(run, "x.safetensors", "y.safetensors")
        assert (code, found["x"]["status"]) == (4, "changed")


def test_zeros_of_two_signs_differ(run: Run) -> None:
    save_file({"x": torch.tensor([0.0])}, "x.safetensors")
    save_file({"x": torch.tensor([-0.0])}, "y.safetensors")
    code, found = diff(run, "x.safetensors", "y.safetensors")
    assert (code, found["x"]["changed"], found["x"]["zeroed"]) == (4, 1, 0)


def test_standard_input_is_one_of_both(run: Run) -> None:
    save_file({"x": torch.randn(5), "y": torch.randn(5)}, "x.safetensors")
    assert shell("cat x.safetensors | dropcli diff - x.safetensors").returncode == 0
    assert run("diff", "-", "-").code == 2


def test_bad_input_is_one_line(run: Run) -> None:
    save_file({"x": torch.randn(5)}, "x.safetensors")
    Path("bad.pt").write_bytes(b"x" * 20)
    result = run("diff", "x.safetensors", "bad.pt")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: bad.pt: ")
    result = run("diff", "x.safetensors", "none.pt", "--json")
    assert result.code == 1
    assert result.json["errors"][0]["source"] == "none.pt"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_screen(run: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ["model.layers.0.self_attn.q_proj.weight", "\x1b[31m\u202ex", "x"]
    save_file({name: torch.randn(40, 50) for name in names}, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    for words in (("diff", "x.safetensors", "y.safetensors"), ("info", "--stats", "x.safetensors")):
        out = run(*words).out
        assert max(map(len, out.splitlines())) <= columns
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_statistics_are_those_of_the_report(run: Run) -> None:
    tensors = {"x": torch.randn(300_000), "h": torch.randn(70, 3).half()}
    save_file({**tensors, "i": torch.arange(9)}, "x.safetensors")
    torch.save({"x": tensors["x"].view(300, 1000).t(), "h": tensors["h"]}, "x.pt")
    for path in ("x.safetensors", "x.pt"):
        done = run("apply", path, "-fo", "y.pt", "--json").json["files"][0]["tensors"]
        before = {tensor["name"]: tensor["before"] for tensor in done}
        shown = run("info", "--stats", path, "--json").json["files"][0]["tensors"]
        for tensor in shown:
            histogram = tensor["statistics"].pop("histogram")
            assert 0 < sum(histogram["counts"]) <= histogram["sampled"] <= 65_536
            if before[tensor["name"]]:
                # The statistics of scattered elements are added in another order.
                assert tensor["statistics"] == pytest.approx(before[tensor["name"]], rel=1e-12)
                if path != "x.pt":
                    assert tensor["statistics"] == before[tensor["name"]]


def test_statistics_of_odd_tensors(run: Run) -> None:
    tensors = {
        "nan": torch.full((4,), torch.nan),
        "empty": torch.empty(0),
        "scalar": torch.tensor(2.0),
        "bool": torch.tensor([True, False]),
        "int": torch.tensor([2**62, -(2**62)]),
        "huge": torch.tensor([1.7e308, -1.7e308], dtype=torch.float64),
        "float8": torch.ones(3).to(torch.float8_e5m2),
        "complex": torch.tensor([3 + 4j]),
    }
    save_file(tensors, "x.safetensors")
    shown = run("info", "--stats", "x.safetensors", "--json").json["files"][0]["tensors"]
    found = {tensor["name"]: tensor["statistics"] for tensor in shown}
    assert (found["nan"]["mean"], found["nan"]["nan"], found["nan"]["histogram"]) == (None, 4, None)
    assert found["empty"]["mean"] is None
    assert found["scalar"]["mean"] == 2
    assert (found["bool"]["mean"], found["bool"]["zeros"]) == (0.5, 1)
    assert found["int"]["max"] == 2**62
    assert found["huge"]["histogram"]["counts"][0] == 1
    assert found["complex"]["mean"] == 5
    assert run("info", "--stats", "x.safetensors").code == 0


def test_statistics_of_folders_and_pipes(run: Run) -> None:
    Path("data").mkdir()
    for number in range(3):
        save_file({"b": torch.randn(50), "a": torch.randn(7)}, f"data/{number}.safetensors")
    assert len(run("info", "--stats", "data", "--json").json["files"]) == 3
    done = shell("cat data/0.safetensors | dropcli info --stats - --json")
    piped = json.loads(done.stdout)["files"][0]["tensors"]
    assert (
        piped == run("info", "--stats", "data/0.safetensors", "--json").json["files"][0]["tensors"]
    )


def test_folders_get_a_hint_of_what_to_compare(refuse: Refuse) -> None:
    Path("a").mkdir()
    Path("b").mkdir()
    save_file({"x": torch.ones(3)}, "a/x.safetensors")
    for words, hint in (
        ("a b", "name a file in each; all outputs of a folder: dropcli verify --source a b"),
        ("a/x.safetensors b", "name a file, as in b/x.safetensors"),
        ("b a/x.safetensors", "name a file, as in b/x.safetensors"),
    ):
        refused = refuse("diff", *words.split())
        assert (refused.code, refused.hint) == ("is-a-directory", hint)
