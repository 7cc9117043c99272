"""Names and shapes that perhaps only one format can store, converted both ways.

Either the conversion is an error and leaves no output, or the other format's own library finds
the same names and bytes.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.builders import pack
from tests.conftest import Run

NAMES = [
    "",
    " ",
    "__metadata__",
    "__metadata__.x",
    "__METADATA__",
    "dropcli",
    "dropcli.json",
    "tensor",
    "a.b",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "a/b",
    "a\\b",
    "a#2",
    "data.pkl",
    "version",
    "x\0y",
    "\0",
    "\n",
    "\x1b[2J",
    "\x7f\x80\x9f",
    "\u202e\u2066",
    "\ufeff",
    "\ufffe\uffff",
    "é",
    "e\u0301",
    "日本語",
    "😀",
    "\U0010ffff",
    '"',
    '","y":{"dtype":"F32"',
    "'; os.system('id')",
    "\\ud800",
    "True",
    "0",
    "-1",
    "constructor",
    "__proto__",
    "__reduce__",
    "x" * 255,
    "x" * 70_000,
]
SURROGATES = ["\ud800", "x\udfff", "\ud83d\ude00", "\udcff"]
STEMS = [
    *("é", "日本語", "a b", "a.b", "..", ".", "...", "a\\b", "-", "\udcff", "x" * 250, "\x1b[2J"),
    *("C:", "a:b", "a\nb", "é\udcff", "%s", "data", "data.pkl"),
]
WORDS = ("-p", 0, "--seed", 1)


def tensors_of(names: list[str]) -> dict[str, torch.Tensor]:
    return {name: torch.arange(2.0) + number for number, name in enumerate(names)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def check_to_safetensors(run: Run, content: Any, expected: dict[str, torch.Tensor]) -> str | None:
    torch.save(content, "x.pt")
    Path("y.safetensors").unlink(missing_ok=True)
    result = run("apply", "x.pt", "-o", "y.safetensors", *WORDS, "--json")
    if result.code:
        assert (result.code, Path("y.safetensors").exists()) == (1, False), result.err
        code: str = result.json["errors"][0]["code"]
        return code
    assert same(load_file("y.safetensors"), expected)
    return None


def check_to_pt(run: Run, output: str = "y.pt") -> str | None:
    """From `x.safetensors`."""
    expected = load_file("x.safetensors")
    Path(output).unlink(missing_ok=True)
    result = run("apply", "x.safetensors", "-o", output, *WORDS, "--json")
    if result.code:
        assert (result.code, Path(output).exists()) == (1, False), result.err
        code: str = result.json["errors"][0]["code"]
        return code
    with Path(output).open("rb") as file:
        assert same(torch.load(file, weights_only=True), expected)
    assert run("info", output).code == 0
    return None


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_to_safetensors(run: Run, name: str) -> None:
    tensors = tensors_of([name])
    code = check_to_safetensors(run, tensors, {name or "tensor": tensors[name]})
    assert code == ("not-in-safetensors" if name == "__metadata__" else None)


@pytest.mark.parametrize("name", SURROGATES, ids=ascii)
def test_a_surrogate_to_safetensors(run: Run, name: str) -> None:
    assert check_to_safetensors(run, tensors_of([name]), {})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__metadata__"], ids=ascii)
def test_a_name_to_pt(run: Run, name: str) -> None:
    save_file(tensors_of([name]), "x.safetensors")
    assert check_to_pt(run) is None


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_the_name_of_a_file_to_pt(run: Run, stem: str) -> None:
    save_file(tensors_of(["x"]), "x.safetensors")
    assert check_to_pt(run, f"./{stem}.pt") is None


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True))
@example(["a.b", "a"])
@example(["__metadata__", "x"])
def test_any_names_both_ways(run: Run, names: list[str]) -> None:
    tensors = tensors_of(names)
    code = check_to_safetensors(run, tensors, tensors)
    if code is None:
        Path("y.safetensors").replace("x.safetensors")
        assert check_to_pt(run) is None


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((0, 2**63 - 1), True),
        ((2**40, 0, 2**40), True),
        ((1,) * 64, True),
        ((0, 2**63), False),
        ((0, 2**40, 2**40), False),
        ((1,) * 65, False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_shape_to_pt(run: Run, shape: tuple[int, ...], fits: bool) -> None:
    data = bytes(0 if 0 in shape else 4)
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}
    Path("x.safetensors").write_bytes(pack({"x": entry}, data))
    result = run("apply", "x.safetensors", "-o", "y.pt", *WORDS, "--json")
    if fits:
        assert torch.load("y.pt", weights_only=True)["x"].shape == shape
        assert run("info", "y.pt").code == 0
    else:
        assert (result.code, result.json["errors"][0]["code"]) == (1, "not-in-pt")
        assert not Path("y.pt").exists()


def test_a_header_that_is_too_long_once_it_is_padded(run: Run) -> None:
    header = b'{"__metadata__":{"m":"%s"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    text = header % (b"m" * 99_999_600)
    Path("x.safetensors").write_bytes(pack(text.ljust(99_999_736), bytes(8)))  # to 4,096 bytes
    assert load_file("x.safetensors").keys() == {"x"}
    result = run("apply", "x.safetensors", "-o", "y.safetensors", *WORDS, "--json")
    assert (result.code, result.json["errors"][0]["code"]) == (1, "invalid-header")
    assert not Path("y.safetensors").exists()


def test_a_header_that_the_library_would_not_open_is_not_written(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "x.safetensors", {"much": "m" * 99_999_800})
    assert load_file("x.safetensors").keys() == {"x"}
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--json")
    assert (result.code, result.json["errors"][0]["code"]) == (1, "invalid-header")
    assert not Path("y.safetensors").exists()
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "--no-provenance").code == 0
    assert load_file("y.safetensors").keys() == {"x"}
