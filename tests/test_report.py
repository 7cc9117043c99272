"""The report: every number recomputed from the two files, in every form."""

import csv
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import special_values
from tests.conftest import Run, shell

TENSORS = {
    "f32": torch.randn(300_000) * 3 + 1,
    "f64": torch.randn(70_000, dtype=torch.float64)
    + 1e9,  # a mean far above the standard deviation
    "far": torch.randn(300_000, dtype=torch.float64) + 1e12,
    "constant64": torch.full((200_000,), 0.1, dtype=torch.float64),
    "high": torch.full((1000,), 1e200, dtype=torch.float64),
    "f16": torch.rand(5, 5).half(),
    "bf16": torch.randn(66_000).bfloat16(),
    "special": special_values(torch.float32),
    "constant": torch.full((100_000,), 0.1),
    "no values": torch.full((4,), math.nan),
    "empty": torch.ones(0, 3),
    "scalar": torch.tensor(2.5),
    "labels": torch.arange(10),
}


def numbers(x: torch.Tensor) -> dict[str, Any]:
    """The statistics of a tensor by numpy."""
    values = x.double().numpy().reshape(-1)
    finite = values[np.isfinite(values)]
    some = len(finite) > 0
    with np.errstate(all="ignore"):
        spread = finite.std() if some else np.nan
    return {
        "mean": finite.mean() if some else None,
        # numpy's own float64 mean is too coarse for values far from zero.
        "std": float(finite.astype(np.longdouble).std()) if np.isfinite(spread) else None,
        "min": finite.min() if some else None,
        "max": finite.max() if some else None,
        "zeros": int((values == 0).sum()),
        "nan": int(np.isnan(values).sum()),
        "inf": int(np.isinf(values).sum()),
    }


@pytest.mark.parametrize("options", [("-p", "0.3"), ("-p", "0"), ("-p", "1"), ("--fill", "2")])
def test_numbers_are_those_of_numpy(run: Run, options: tuple[str, ...]) -> None:
    save_file(TENSORS, "x.safetensors")
    result = run(
        "apply", "x.safetensors", "-o", "y.safetensors", "--all-floats", "--json", *options
    )
    after = load_file("y.safetensors")
    document = result.json
    assert result.code == 0
    assert set(document) == {
        "schema",
        "version",
        "command",
        "status",
        "settings",
        "files",
        "warnings",
        "errors",
    }
    assert (document["schema"], document["command"], document["status"]) == (1, "apply", "success")
    assert document["errors"] == []
    for tensor in document["files"][0]["tensors"]:
        name = tensor["name"]
        assert tensor["shape"] == list(TENSORS[name].shape)
        assert tensor["elements"] == TENSORS[name].numel()
        if name == "labels":
            assert tensor["action"] == "copied"
            assert tensor["before"] is tensor["after"] is tensor["rate"] is None
            continue
        for side, x in (("before", TENSORS[name]), ("after", after[name])):
            expected = numbers(x)
            assert list(tensor[side]) == list(expected)
            for key, value in expected.items():
                exact = key not in ("mean", "std") or value is None
                tolerance = 1e-9 * ((expected["std"] or 0) + 1e-3)
                close = None if exact else pytest.approx(value, rel=1e-9, abs=tolerance)
                assert tensor[side][key] == (value if exact else close), (name, side, key)


def test_the_document_parses_with_jq(run: Run) -> None:
    save_file(TENSORS, "x.safetensors")
    done = shell("dropcli apply x.safetensors -o y.safetensors --json | jq -e '.files[0].bytes'")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == Path("y.safetensors").stat().st_size


def test_stats_files_agree_with_the_document(run: Run) -> None:
    save_file(TENSORS, "x.safetensors")
    reports = {}
    for suffix in ("json", "jsonl", "csv"):
        result = run("apply", "x.safetensors", "-o", f"{suffix}.safetensors", "--seed", 1,
                     "--stream", "s", "--stats", f"s.{suffix}", "--json")  # fmt: skip
        assert result.code == 0
        reports[suffix] = result.json
    assert json.loads(Path("s.json").read_text()) == reports["json"]
    (line,) = Path("s.jsonl").read_text().splitlines()
    settings, (file,) = reports["jsonl"]["settings"], reports["jsonl"]["files"]
    assert json.loads(line) == {"settings": settings, **file}

    with Path("s.csv").open(newline="") as lines:
        rows = {row["name"]: row for row in csv.DictReader(lines)}
    for tensor in reports["csv"]["files"][0]["tensors"]:
        row = rows[tensor["name"]]
        assert row["shape"] == ("x".join(map(str, tensor["shape"])) or "scalar")
        for key in ("decisions", "dropped", "elements_dropped", "action", "dtype"):
            assert row[key] == str(tensor[key])
        for side in ("before", "after"):
            for key, value in (tensor[side] or {}).items():
                assert row[f"{side}_{key}"] == ("" if value is None else str(value))


def test_stats_are_refused_before_any_work(run: Run) -> None:
    save_file(TENSORS, "x.safetensors")
    Path("there.json").write_text("{}")
    Path("link.json").symlink_to("y.safetensors")
    for path, code in (("s.txt", 2), ("there.json", 1), ("nowhere/s.json", 1), ("link.json", 2)):
        assert run("apply", "x.safetensors", "-o", "y.safetensors", "--stats", path).code == code
        assert not Path("y.safetensors").exists()


def test_overflow_gives_a_warning(run: Run) -> None:
    save_file({"x": torch.full((1000,), 60000.0).half()}, "x.safetensors")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--json")
    infinite = int(load_file("y.safetensors")["x"].isinf().sum())
    assert result.warnings == ["overflow"]
    assert f"{infinite:,}" in result.err


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
@pytest.mark.parametrize("base", [2**53, 2**62, -(2**63)])
def test_moments_of_large_integers_are_exact(run: Run, dtype: torch.dtype, base: int) -> None:
    base = abs(base) if dtype is torch.uint64 else base
    steps = [number % 7 for number in range(100_000)]
    values = [base + step for step in steps]
    save_file({"x": torch.tensor(values, dtype=dtype)}, "x.safetensors")
    words = ("-k", "x", "--no-rescale", "-p", 0, "--json")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", *words)
    before = result.json["files"][0]["tensors"][0]["before"]
    assert (before["min"], before["max"]) == (base, base + 6)
    assert before["mean"] == pytest.approx(statistics.mean(values), rel=1e-16)
    assert before["std"] == pytest.approx(
        statistics.pstdev(number % 7 for number in range(100_000))
    )


def test_huge_values_keep_the_document_valid(run: Run) -> None:
    save_file({"x": torch.full((10,), 1e308, dtype=torch.float64)}, "x.safetensors")
    tensor = run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0, "--json").json["files"][
        0
    ]
    before = tensor["tensors"][0]["before"]
    assert before["std"] == 0  # where numpy's own sum overflows
    assert before["mean"] == pytest.approx(1e308)
    assert before["max"] == 1e308

    save_file({"x": torch.tensor([-1e308, 1e308], dtype=torch.float64)}, "x.safetensors")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "-fp", 0, "--json")
    before = result.json["files"][0]["tensors"][0]["before"]
    assert before["std"] is None  # its square overflows


def test_the_table_reads_at_80_columns(run: Run) -> None:
    tensors = {"model.layers.11.attention.query.weight": torch.randn(64, 64), **TENSORS}
    del tensors["high"], tensors["far"]  # numbers of ten digits, which have their own test
    save_file(tensors, "x.safetensors")
    command = "dropcli apply x.safetensors --all-floats -vfo y.safetensors"
    table = shell(command, COLUMNS="80").stdout.decode()
    assert max(len(line) for line in table.splitlines()) <= 80
    for word in (" p ", "rate", "before", "after", "zeros", "NaN", "inf", "1 copied"):
        assert word in table


@pytest.mark.parametrize("columns", ["1", "20", "50"])
def test_numbers_are_not_cut_on_narrow_screens(run: Run, columns: str) -> None:
    save_file({"model.layers.11.attention.query.weight": torch.randn(500, 300)}, "x.safetensors")
    command = "dropcli apply x.safetensors -fo y.safetensors --seed 1"
    wide, narrow = (shell(command, COLUMNS=width).stdout.decode() for width in ("200", columns))
    numbers, shown = (
        {word for word in text.split() if re.fullmatch(r"-?[\d.,]*\d(e[+-]\d+)?", word)}
        for text in (wide, narrow)
    )
    assert len(numbers) > 10
    assert numbers <= shown


def test_lines_in_a_file_are_whole(run: Run) -> None:
    name = "model.layers.11.attention.query.weight" * 4
    save_file({name: torch.randn(5)}, "x.safetensors")
    assert name in run("info", "x.safetensors").out
    assert name in run("apply", "x.safetensors", "-o", "y.safetensors").out


@pytest.mark.parametrize(
    "variables",
    [
        {"GITHUB_ACTIONS": "1"},
        {"FORCE_COLOR": "1"},
        {"CLICOLOR_FORCE": "1"},
        {"TTY_COMPATIBLE": "1"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"COLUMNS": "20"},
    ],
    ids=str,
)
def test_e06_e07_no_escape_code_leaves_a_pipe(variables: dict[str, str]) -> None:
    save_file({"\x1b[31mred[/]\n": torch.ones(3)}, "x.safetensors")
    for command in (
        "dropcli apply x.safetensors -fo y.safetensors",
        "dropcli info x.safetensors",
        "dropcli apply x.safetensors -o y.safetensors -k nothing",
        "dropcli --help",
        "dropcli apply --nonsense",
    ):
        done = shell(command, **variables)
        assert b"\x1b" not in done.stdout + done.stderr
        assert b"Traceback" not in done.stderr
    assert rb"\x1b[31mred[/]\n" in shell("dropcli info x.safetensors").stdout
