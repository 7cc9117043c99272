"""Each command, with each kind of input and output, gives the same on a store as on files."""

import json
import os
from pathlib import Path

import pytest
import torch

from tests.builders import tree
from tests.conftest import SETTINGS, WORDS, Run, redirected, shell
from tests.stores.server import Store


@pytest.fixture
def url(run: Run, store: Store) -> str:
    """The URL of an object, which is also the file x.pt; y.pt is made from each of them."""
    torch.save({"x": torch.randn(6, 3, 20, 20), "label": torch.arange(6.0)}, "x.pt")
    made = store.put("x.pt", Path("x.pt").read_bytes())
    assert run("apply", "x.pt", "-o", "y.pt", *SETTINGS, "-q").code == 0
    store.put("y.pt", Path("y.pt").read_bytes())
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("info", "x.pt"),
        ("info", "x.pt", "y.pt"),
        ("info", "--stats", "x.pt"),
        ("diff", "x.pt", "y.pt"),
        ("verify", "y.pt", "--source", "x.pt"),
        ("verify", "x.pt", "--source", "y.pt"),
        ("apply", "x.pt", "-o", "z.pt", *WORDS, "-n"),
        ("apply", "x.pt", "-o", "z.pt", "--like", "y.pt"),
        ("apply", "x.pt", "-o", "z.pt", *WORDS, "--copies", "2", "--concat", "--keep-original"),
        ("mask", "x.pt", "-o", "z.safetensors", *WORDS),
    ],
    ids=" ".join,
)
def test_the_same_document_and_bytes(
    run: Run, store: Store, url: str, words: tuple[str, ...]
) -> None:
    base = f"{store.url}/"
    there = [base + word if word.endswith((".pt", ".safetensors")) else word for word in words]
    one, two = run(*words, "--json"), run(*there, "--json")
    assert (one.code, one.err) == (two.code, two.err.replace(base, ""))
    assert json.loads(two.out.replace(base, "")) == one.json
    made = [name for name in ("z.pt", "z.safetensors") if os.path.exists(name)]
    assert store.keys("z") == made
    assert all(store.get(name) == Path(name).read_bytes() for name in made)


def test_previews_and_statistics(run: Run, store: Store, url: str) -> None:
    for base in ("", f"{store.url}/"):
        assert run("preview", f"{base}x.pt", *SETTINGS, "-o", f"{base}sheet.png").code == 0
        stats = ("--stats", f"{base}report.csv")
        assert run("apply", f"{base}x.pt", "-o", f"{base}z.pt", *SETTINGS, *stats).code == 0
    assert store.get("sheet.png") == Path("sheet.png").read_bytes()
    assert store.get("report.csv").replace(base.encode(), b"") == Path("report.csv").read_bytes()
    assert run("preview", url, *SETTINGS, "-o", f"{base}sheet.png").code == 1


def test_pipes(run: Run, store: Store, url: str) -> None:
    with redirected(0, "x.pt", os.O_RDONLY):
        assert run("apply", "-", "--stream", "x", "-o", f"{store.url}/z.pt", *SETTINGS).code == 0
    assert store.get("z.pt") == Path("y.pt").read_bytes()
    assert shell(f"dropcli apply {url} -o - -q {' '.join(WORDS)}").stdout == store.get("z.pt")


def test_from_a_disk_and_to_one(run: Run, store: Store, data: dict[str, torch.Tensor]) -> None:
    url = store.put_folder("data")
    more = ("--copies", "2", *SETTINGS, "-q")
    for source, output in (("data", "whole"), (url, "out"), ("data", f"{store.url}/out")):
        assert run("apply", source, "-o", output, *more).code == 0
    assert tree("whole") == tree("out") == store.objects("out")
