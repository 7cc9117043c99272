"""The Python API gives the same bytes as the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dropcli
from tests import oracle
from tests.conftest import Run

OPTIONS: list[tuple[dict[str, Any], tuple[object, ...]]] = [
    ({}, ()),
    ({"p": 0.2}, ("-p", 0.2)),
    ({"p": 0}, ("-p", 0)),
    ({"p": 1, "fill": 3}, ("-p", 1, "--fill", 3)),
    ({"over": 0, "rescale": False}, ("--over", 0, "--no-rescale")),
    ({"over": (0, -1)}, ("--over", "0,-1")),
    ({"over": "0,2:8,3:8"}, ("--over", "0,2:8,3:8")),
    ({"over": "channel", "exact": True}, ("--mode", "channel", "--exact")),
    ({"over": [0, 1], "min_keep": 2, "p": 0.9}, ("--over", "0,1", "--min-keep", 2, "-p", 0.9)),
    ({"alpha": True, "p": 0.3}, ("--alpha", "-p", 0.3)),
    ({"p": (0.1, 0.8)}, ("-p", "0.1:0.8")),
    ({"p": (0.1, 0.8), "p_per": "sample"}, ("-p", "0.1:0.8", "--p-per", "sample")),
]


@pytest.mark.parametrize(("arguments", "options"), OPTIONS, ids=str)
def test_drop_is_what_the_command_writes(
    run: Run, arguments: dict[str, Any], options: tuple[object, ...]
) -> None:
    for dtype in oracle.FLOATS:
        # Longer than the blocks that are taken at a time.
        x = torch.randn(300, 4, 17, 33).to(dtype)
        save_file({"images": x, "labels": torch.arange(300)}, "train.safetensors")
        done = run("apply", "train.safetensors", "-o", "y.safetensors", "--seed", 7, *options, "-f")
        assert done.code == 0
        written = load_file("y.safetensors")["images"]
        names: dict[str, Any] = {"seed": 7, "stream": "train", "tensor": "images"}
        dropped = dropcli.drop(x, **names, **arguments)
        assert oracle.equal_bits(dropped, written)
        assert dropped.dtype == dtype

        turned = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        again = dropcli.drop(turned, **names, **arguments)
        assert oracle.equal_bits(again.contiguous(), written)
        assert again.stride() == turned.stride()
        if dtype != torch.bfloat16:
            array = dropcli.drop(x.numpy(), **names, **arguments)
            assert oracle.equal_bits(torch.from_numpy(array), written)


def test_every_dtype_and_shape(run: Run) -> None:
    tensors = {
        "scalar": torch.tensor(2.5),
        "empty": torch.rand(0, 3),
        "complex": torch.randn(50, dtype=torch.complex64),
        "f8": torch.randn(50).to(torch.float8_e5m2),
        "ints": torch.arange(50).to(torch.uint16),
        "bools": torch.rand(50) > 0.5,
    }
    save_file(tensors, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--no-rescale", "-k", "*")
    written = load_file("y.safetensors")
    for name, x in tensors.items():
        dropped = dropcli.drop(x, seed=1, stream="x", tensor=name, rescale=False)
        assert dropped.reshape(-1).view(torch.uint8).tolist() == (
            written[name].reshape(-1).view(torch.uint8).tolist()
        )


def test_arrays_of_other_orders(run: Run) -> None:
    x = np.random.default_rng(0).random((20, 30), np.float32)
    expected = dropcli.drop(x, seed=3, stream="s")
    for other in (x.astype(">f4"), np.asfortranarray(x)):
        dropped = dropcli.drop(other, seed=3, stream="s")
        assert dropped.dtype == other.dtype
        assert np.array_equal(dropped, expected)
    half = x.astype(ml_dtypes.bfloat16)
    dropped = dropcli.drop(half, seed=3, stream="s")
    twin = dropcli.drop(torch.from_numpy(x).bfloat16(), seed=3, stream="s")
    assert dropped.dtype == half.dtype
    assert np.array_equal(dropped.view(np.uint16), twin.view(torch.uint16).numpy())


def test_in_place_or_not() -> None:
    x = torch.rand(4, 6)[:, ::2]
    before = x.clone()
    dropped = dropcli.drop(x, seed=0, stream="s")
    assert torch.equal(x, before)
    assert dropcli.drop(x, seed=0, stream="s", inplace=True) is x
    assert torch.equal(x, dropped)
    array = before.numpy().copy()
    assert dropcli.drop(array, seed=0, stream="s", inplace=True) is array
    assert np.array_equal(array, dropped.numpy())


def test_the_mask_is_that_of_the_contract() -> None:
    for shape, over in (((7, 5), None), ((6, 4, 9), {0: 1, 2: 4}), ((), None), ((0, 3), None)):
        text = ",".join(f"{dim}:{size}" for dim, size in over.items()) if over else None
        keep = dropcli.keep_mask(
            shape, p=0.3, seed=9, stream="train/000", tensor="x", copy=2, over=text
        )
        key = oracle.key(9, "train/000", "x", 2)
        assert np.array_equal(keep, ~oracle.dropped(shape, 0.3, key, over))
    x = torch.rand(7, 5)
    keep = dropcli.keep_mask((7, 5), p=0.3, seed=9, stream="s")
    assert np.array_equal(dropcli.drop(x, p=0.3, seed=9, stream="s").numpy() != 0, keep)


def test_apply_gives_the_report_of_the_command(run: Run) -> None:
    save_file({"x": torch.rand(5, 5)}, "a.safetensors")
    Path("data").mkdir()
    for number in range(3):
        save_file({"x": torch.rand(5, 5)}, f"data/{number}.safetensors")
    settings: dict[str, Any] = {"p": 0.3, "seed": 7}
    report = dropcli.apply("a.safetensors", Path("b.safetensors"), **settings)
    shown = run(
        "apply", "a.safetensors", "-o", "b.safetensors", "-p", 0.3, "--seed", 7, "-f", "--json"
    )
    assert report.document() == shown.json
    report = dropcli.apply(Path("data"), "out", **settings, copies=2)
    words = ("-p", 0.3, "--seed", 7, "--copies", 2, "--force", "--json")
    assert report.document() == run("apply", "data", "-o", "out", *words).json
    assert report.status == "success"

    Path("data/1.safetensors").write_bytes(b"damaged")
    numbers: dict[str, Any] = {"seed": np.int64(7), "fill": np.float32(2), "p": np.float64(0.5)}
    one = dropcli.apply("a.safetensors", "c.safetensors", key="x", **numbers)
    assert json.loads(one.to_json())["settings"]["key"] == ["x"]
    report = dropcli.apply(["data", "a.safetensors"], "other", jobs=1)
    assert report.status == "partial"
    assert [error["source"] for error in report.errors] == ["data/1.safetensors"]
    assert isinstance(report.document()["settings"]["seed"], int)


def test_reports_have_tensors_whatever_the_input(run: Run) -> None:
    labels = torch.rand(4)
    torch.save(torch.rand(4, 5), "x.pt")
    Path("data/more").mkdir(parents=True)
    for name in ("a", "more/b"):
        torch.save({"emb": torch.rand(4, 5), "label": labels}, f"data/{name}.pt")
    reports = [
        dropcli.apply("x.pt", "y.pt", seed=7),
        dropcli.apply(["x.pt"], "z.pt", seed=7, over=0, exact=True),
        dropcli.apply(["x.pt", "data/more/b.pt"], "several/", seed=7, p=(0.1, 0.5)),
        dropcli.apply("data", "folder/", seed=7, copies=2),
        dropcli.apply("data/*", "glob/", seed=7),
        dropcli.info("x.pt"),
        dropcli.info(["x.pt", "data"]),
        dropcli.verify("folder", source="data"),
    ]
    for report in reports:
        document = report.document()
        assert isinstance(report, dropcli.Report)
        assert report.status == document["status"] == "success"
        assert len(report.files) == len(document["files"]) > 0
        for file, in_file in zip(report.files, document["files"], strict=True):
            rows = in_file.pop("tensors", [])
            assert {name: getattr(file, name) for name in in_file} == in_file
            for tensor, row in zip(file.tensors, rows, strict=True):
                assert list(tensor.shape) == row.pop("shape")
                for side in ("before", "after"):
                    if (values := row.pop(side, None)) is not None:
                        found = getattr(tensor, side)
                        assert {name: getattr(found, name) for name in values} == values
                    else:
                        assert getattr(tensor, side) is None
                assert {name: getattr(tensor, name) for name in row} == row

    one, _, _, many, *_, infos, verified = reports
    assert (one.files[0].output, one.files[0].tensors[0].name) == ("y.pt", "tensor")
    assert [tensor.action for tensor in many.files[0].tensors] == ["dropped", "copied"]
    assert many.files[0].tensors[1].reason == "named like a label"
    assert [warning["files"] for warning in many.warnings] == [2]
    assert [file.format for file in infos.files] == ["pt"] * 3
    assert {(file.status, file.difference) for file in verified.files} == {("same", None)}
    assert [len(repr(report)) < 60 for report in reports] == [True] * len(reports)
    assert "files=4" in repr(many)


def test_reports_of_what_goes_wrong() -> None:
    for name in ("a", "b"):
        save_file({"x": torch.rand(4, 5)}, f"{name}.safetensors")
    dropcli.apply("a.safetensors", "out/", seed=7)
    with pytest.raises(dropcli.FileError):
        dropcli.info("none.safetensors")
    report = dropcli.info([Path("none.safetensors"), "a.safetensors"])
    assert (report.status, report.files[0].source) == ("partial", "a.safetensors")
    assert [error["source"] for error in report.errors] == ["none.safetensors"]
    Path("empty").mkdir()
    assert [error["code"] for error in dropcli.info("empty").errors] == ["no-files"]

    differing = dropcli.verify("out", source="b.safetensors")
    assert differing.status == "error"
    assert differing.files[0].status == "different"
    assert differing.files[0].difference == differing.document()["files"][0]["difference"]
    for outputs, source in (("out/a.safetensors", "none"), ("a.safetensors", "b.safetensors")):
        with pytest.raises(dropcli.DropcliError):
            dropcli.verify(outputs, source=source)
    with pytest.raises(dropcli.UsageError):
        dropcli.verify("out", source="a.safetensors", jobs=0)


def test_errors_are_those_of_python() -> None:
    x = torch.rand(3)
    for error, call in (
        (ValueError, lambda: dropcli.drop(x, p=1.5, seed=0, stream="s")),
        (ValueError, lambda: dropcli.drop(x, p=float("nan"), seed=0, stream="s")),
        (ValueError, lambda: dropcli.drop(x, seed=-1, stream="s")),
        (ValueError, lambda: dropcli.drop(x, seed=0, stream="s", over=3)),
        (ValueError, lambda: dropcli.drop(torch.arange(3), seed=0, stream="s")),
        (ValueError, lambda: dropcli.drop(x, seed=7.0, stream="s")),  # type: ignore[arg-type]
        (ValueError, lambda: dropcli.drop(x, seed=True, stream="s")),
        (ValueError, lambda: dropcli.drop(x, seed=7, stream="s", copy=-1)),
        (ValueError, lambda: dropcli.drop(x, seed=7, stream="")),
        (ValueError, lambda: dropcli.drop(x, p=(0.1, 0.2), p_per="samples", seed=7, stream="s")),
        (ValueError, lambda: dropcli.drop(x, over=0, min_keep=0, seed=7, stream="s")),
        (dropcli.UsageError, lambda: dropcli.apply("x.pt", in_place=True, copies=2)),
        (dropcli.UsageError, lambda: dropcli.apply("x.pt", "y.pt", concat=True)),
        (dropcli.UsageError, lambda: dropcli.apply("x.pt", "y", rng="torch", copies=2)),
        (dropcli.UsageError, lambda: dropcli.apply("x.pt", "y.pt", rng="Torch")),
        (TypeError, lambda: dropcli.drop([1.0], seed=0, stream="s")),  # type: ignore[type-var]
        (TypeError, lambda: dropcli.drop(x.requires_grad_(), seed=0, stream="s")),
        (TypeError, lambda: dropcli.drop(np.array(["a"]), seed=0, stream="s")),
        (dropcli.FileError, lambda: dropcli.apply("missing.pt", "y.pt")),
        (dropcli.UsageError, lambda: dropcli.apply("missing.pt")),
    ):
        with pytest.raises(error):
            call()
    with pytest.raises(dropcli.DropcliError) as caught:
        dropcli.drop(torch.rand(3), p=1.5, seed=0, stream="s")
    assert caught.value.code == "bad-p"


def test_nothing_is_imported_that_is_not_used() -> None:
    code = "import dropcli, sys; assert 'numpy' not in sys.modules; dropcli.keep_mask((2,), seed=1,"
    code += "stream='s'); assert not {'torch', 'typer', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_errors_name_parameters_where_the_command_names_options() -> None:
    x = np.ones((3, 4), "f4")
    problems: dict[tuple[tuple[str, Any], ...], str] = {
        (("exact", True),): "exact needs over or mode",
        (("over", 5),): "over=5: the tensor has 2 dimensions",
        (("mode", "channel"),): "mode='channel' needs 4 or more dimensions",
        (("p_per", "sample"),): "p_per='sample' needs a range, not p=0.5",
        (("alpha", True), ("rescale", False)): "alpha and rescale=False",
    }
    for settings, problem in problems.items():
        with pytest.raises(ValueError, match=re.escape(problem)):
            dropcli.drop(x, seed=1, stream="x", **dict(settings))
