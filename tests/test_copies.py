"""Copies: independent of each other, in separate files or in one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run


def test_copies_are_independent_of_how_many_there_are(run: Run) -> None:
    sample("x.safetensors")
    run("apply", "x.safetensors", "-o", "one", "--copies", 1, *SETTINGS)
    run("apply", "x.safetensors", "-o", "many", "--copies", 12, "--keep-original", *SETTINGS)
    assert set(tree("many")) == {f"x.{copy:02}.safetensors" for copy in range(13)}
    assert tree("one")["x.1.safetensors"] == tree("many")["x.01.safetensors"]
    assert tree("many")["x.00.safetensors"] == Path("x.safetensors").read_bytes()
    assert len(set(tree("many").values())) == 13
    for copy in range(1, 13):
        x, y = load_file("x.safetensors")["x"], load_file(f"many/x.{copy:02}.safetensors")["x"]
        drop = oracle.dropped(x.shape, 0.3, oracle.key(7, "x", "x", copy))
        assert oracle.equal_bits(y, oracle.dropout(x, drop, 0.3))


@pytest.mark.parametrize("over", [(), ("--over", "0,1")], ids=str)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_concat_is_the_copies_in_a_row(run: Run, suffix: str, over: tuple[str, ...]) -> None:
    tensors = {
        "images": torch.rand(300, 7, 200),
        "half": torch.rand(300, 3).half(),
        "labels": torch.arange(300),
        "classes": torch.arange(10),
        "scale": torch.tensor(2),
    }
    if suffix == "pt":
        tensors["turned"] = torch.rand(5, 300).T
        torch.save(tensors, "x.pt")
    else:
        save_file(tensors, "x.safetensors")
    for original in ((), ("--keep-original",)):
        options = ("--copies", 3, *original, *over, *SETTINGS)
        result = run(
            "apply", f"x.{suffix}", "-o", "y.safetensors", "--concat", *options, "--json", "-f"
        )
        assert result.code == 0
        run("apply", f"x.{suffix}", "-o", "parts", *options, "--force")
        parts = [
            torch.load(path) if suffix == "pt" else load_file(path)
            for path in sorted(Path("parts").glob(f"x.*.{suffix}"))
        ][0 if original else -3 :]
        assert len(parts) == (4 if original else 3)
        joined = load_file("y.safetensors")
        assert set(joined) == set(tensors)
        for name, tensor in joined.items():
            if name in ("classes", "scale"):
                assert torch.equal(tensor, tensors[name])
            else:
                assert oracle.equal_bits(tensor, torch.cat([part[name] for part in parts]))
        (file,) = result.json["files"]
        images = next(tensor for tensor in file["tensors"] if tensor["name"] == "images")
        assert images["shape"] == [300 * len(parts), 7, 200]
        elements = sum(int((part["images"] == 0).sum()) for part in parts[-3:])
        assert images["elements_dropped"] == elements
        assert images["decisions"] == (3 * 300 * 7 if over else 3 * 300 * 7 * 200)


def test_a_failure_is_reported_once_for_all_copies(run: Run) -> None:
    sample("data/a.pt")
    Path("data/b.pt").write_bytes(b"")
    result = run("apply", "data", "-o", "out", "--copies", 3, "--json")
    assert (result.code, len(result.json["errors"]), len(result.json["files"])) == (3, 1, 3)
