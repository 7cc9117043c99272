"""`dropcli mask`: bool tensors that are True where `apply` keeps an element."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dropcli
from tests.builders import sample, saved, sparse, tree
from tests.conftest import Run, peak_megabytes, shell
from tests.refusal import Refuse

SETTINGS = (
    "-p 0.3",
    "-p 0",
    "-p 1",
    "--mode channel",
    "--mode pixel -p 0.4",
    "--mode patch:3 -p 0.4",
    "--mode sample",
    "--over 0,1 --exact -p 0.25",
    "--over 0,3 --min-keep 2 -p 0.9",
    "-p 0.1:0.9 --p-per sample",
    "--rng torch -p 0.4",
    "--stream other --fill 3",
    "--no-rescale",
)


def by_hand(x: torch.Tensor, keep: torch.Tensor, p: float, fill: float | None) -> torch.Tensor:
    """The product of a tensor and a mask, computed with torch."""
    scaled = x * (keep.to(x.dtype) / (1 - p if p < 1 else 1))
    return scaled if fill is None else torch.where(keep, scaled, torch.tensor(fill, dtype=x.dtype))


@pytest.fixture(autouse=True)
def _file() -> None:
    torch.manual_seed(3)
    x = {"images": torch.rand(6, 4, 7, 5), "more": torch.randn(6, 4, 9, 2).half()}
    save_file(x | {"labels": torch.arange(6)}, "x.safetensors")


@pytest.mark.parametrize("settings", SETTINGS)
def test_applied_by_hand_it_gives_what_apply_gives(run: Run, settings: str) -> None:
    arguments = ("x.safetensors", "--seed", "7", *settings.split())
    assert run("apply", *arguments, "-o", "y.safetensors").code == 0
    without_fill = [word for word in arguments if word not in ("--fill", "3")]
    assert run("mask", *without_fill, "-o", "m.pt").code == 0
    x, y, m = load_file("x.safetensors"), load_file("y.safetensors"), torch.load("m.pt")
    assert list(m) == [name for name in y if name != "labels"]
    for name, keep in m.items():
        assert keep.dtype == torch.bool
        assert keep.shape == x[name].shape
        if "per sample" in settings or settings == "-p 0.1:0.9 --p-per sample":
            assert (x[name] * keep != 0).equal(y[name] != 0)  # p differs between samples
            continue
        words = settings.split()
        p = float(words[words.index("-p") + 1]) if "-p" in words else 0.5
        p = 0.0 if "--no-rescale" in words else p
        fill = float(words[words.index("--fill") + 1]) if "--fill" in words else None
        assert by_hand(x[name], keep, p, fill).equal(y[name])
    assert run("verify", "m.pt", "--source", "x.safetensors").code == 0


def test_both_formats_hold_the_same(run: Run) -> None:
    run("mask", "x.safetensors", "-o", "m.safetensors", "--seed", "1")
    run("mask", "x.safetensors", "-o", "m.pt", "--seed", "1")
    ours, theirs = load_file("m.safetensors"), torch.load("m.pt")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_of_a_pickle_with_other_things_in_it(run: Run) -> None:
    base = torch.rand(8, 6)
    content: Any = {"a": {"x": base.t(), "note": "text"}, "b": [base.t(), torch.tensor(3)]}
    Path("x.pt").write_bytes(saved(content))
    for output in ("m.pt", "m.safetensors"):
        assert run("mask", "x.pt", "-o", output, "-p", "0.5", "--seed", "4").code == 0
        assert run("verify", output, "--source", "x.pt").code == 0
    run("apply", "x.pt", "-o", "y.pt", "-p", "0.5", "--seed", "4")
    y, m = torch.load("y.pt", weights_only=True), torch.load("m.pt", weights_only=True)
    assert set(m) == {"a.x", "b.0"}  # flat, by name; tied tensors too
    assert y["a"]["x"].equal(content["a"]["x"] * (m["a.x"].float() / 0.5))
    assert m["a.x"].equal(m["b.0"])
    assert load_file("m.safetensors")["b.0"].equal(m["b.0"])


def test_one_is_published_whole_or_not_at_all(run: Run, refuse: Refuse) -> None:
    run("mask", "x.safetensors", "-o", "m.safetensors")
    for arguments, code, exit_code in (
        ("x.safetensors -o m.safetensors", "exists", 1),
        ("x.safetensors", "no-output", 2),
        ("x.safetensors -o x.safetensors --force", "same-file", 2),
        ("x.safetensors -o new.safetensors -k labels", "integer-rescale", 1),
        ("x.safetensors -o new.safetensors -k nothing", "no-match", 1),
        ("x.safetensors -o new.npy", "foreign-suffix", 2),
        ("x.safetensors -o new.pt --fill 3", "usage", 2),
        ("x.safetensors -o new.pt --alpha", "usage", 2),
    ):
        assert refuse("mask", *arguments.split(), exit_code=exit_code).code == code


def test_without_elements_and_dimensions(run: Run) -> None:
    save_file({"x": torch.rand(0, 3), "y": torch.rand(4, 2)}, "e.safetensors")
    save_file({"x": torch.tensor(2.5)}, "s.safetensors")
    for name, shape in (("e", (0, 3)), ("s", ())):
        for suffix in ("pt", "safetensors"):
            assert run("mask", f"{name}.safetensors", "-o", f"{name}m.{suffix}", "-q").code == 0
        assert torch.load(f"{name}m.pt")["x"].shape == shape
        assert load_file(f"{name}m.safetensors")["x"].shape == shape


def test_of_integers(run: Run) -> None:
    run("mask", "x.safetensors", "-o", "m.safetensors", "-k", "labels", "--no-rescale")
    assert load_file("m.safetensors")["labels"].dtype == torch.bool


def test_from_a_pipe_to_a_pipe(run: Run) -> None:
    run("mask", "x.safetensors", "-o", "m.safetensors", "--seed", "2", "--stream", "s")
    command = "set -o pipefail; cat x.safetensors | dropcli mask - -o - --seed 2 --stream s"
    done = shell(command)
    assert done.returncode == 0
    assert done.stdout == Path("m.safetensors").read_bytes()


def test_of_folders_and_copies(run: Run) -> None:
    for number in range(3):
        Path("data").mkdir(exist_ok=True)
        save_file({"x": torch.rand(5, 5)}, f"data/{number}.safetensors")
    save_file({"n": torch.arange(3)}, "data/ints.safetensors")
    options = ("--seed", "3", "--copies", "2")
    run("apply", "data", "-o", "out", *options)
    result = run("mask", "data", "-o", "masks", *options, "--json")
    assert result.json["command"] == "mask"
    assert result.warnings == ["nothing-selected"]
    for number in range(3):
        for copy in (1, 2):
            x = load_file(f"data/{number}.safetensors")["x"]
            name = f"{number}.{copy}.safetensors"
            keep = load_file(f"masks/{name}")["x"]
            assert (x * (keep / 0.5)).equal(load_file(f"out/{name}")["x"])
    assert load_file("masks/ints.1.safetensors") == {}
    assert run("verify", "masks", "--source", "data").code == 0
    before = tree("masks")
    assert run("mask", "data", "-o", "masks", *options, "--resume").code == 0
    assert tree("masks") == before
    assert run("apply", "data", "-o", "masks", *options, "--resume").code == 2  # other outputs


def test_of_joined_copies(run: Run) -> None:
    options = ("--seed", "3", "--copies", "3", "--concat")
    run("apply", "x.safetensors", "-o", "y.safetensors", *options)
    run("mask", "x.safetensors", "-o", "m.safetensors", *options)
    x, y, m = (load_file(f"{name}.safetensors") for name in "xym")
    assert (torch.cat([x["images"]] * 3) * (m["images"] / 0.5)).equal(y["images"])
    assert run("verify", "m.safetensors", "--source", "x.safetensors").code == 0


def test_like_the_output_and_back(run: Run) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", "0.3", "--mode", "channel")
    run("mask", "x.safetensors", "-o", "m.safetensors", "--like", "y.safetensors")
    run("apply", "x.safetensors", "-o", "z.safetensors", "--like", "m.safetensors")
    assert Path("y.safetensors").read_bytes() == Path("z.safetensors").read_bytes()


def test_in_python() -> None:
    report = dropcli.mask("x.safetensors", "m.safetensors", p=0.3, seed=1, key="images")
    dropped = report.files[0].tensors
    found = {tensor.name: tensor.rate for tensor in dropped if tensor.action == "dropped"}
    keep = load_file("m.safetensors")
    assert found.keys() == keep.keys() == {"images"}
    assert math.isclose(found["images"] or 0, 1 - float(keep["images"].double().mean()))
    known = dropcli.keep_mask(keep["images"].shape, p=0.3, seed=1, stream="x", tensor="images")
    assert keep["images"].equal(torch.from_numpy(known))


def test_memory_is_constant() -> None:
    size = 3 * 2**29
    sparse(
        "big.safetensors",
        f'{{"x":{{"dtype":"F32","shape":[{size // 4}],"data_offsets":[0,{size}]}}}}',
        size,
    )
    assert peak_megabytes("mask", "big.safetensors", "-o", "/dev/null", "--seed", "1", "-q") < 100


class Counting(ThreadPoolExecutor):
    """An executor that counts its calls."""

    submitted = 0

    def submit(self, *arguments: Any, **more: Any) -> Any:
        self.submitted += 1
        return super().submit(*arguments, **more)


def test_an_executor_makes_the_masks() -> None:
    for number in range(3):
        sample(f"data/{number}.safetensors", number)
    with Counting(1) as executor:
        dropcli.mask("data", "out", seed=7, executor=executor)
    dropcli.mask("data", "same", seed=7)
    assert executor.submitted > 0
    for name in ("0", "1", "2"):
        made, same = (Path(f"{folder}/{name}.safetensors") for folder in ("out", "same"))
        assert made.read_bytes() == same.read_bytes()


@pytest.mark.parametrize("values", [{"fill": 0.0}, {"alpha": True}], ids=str)
def test_it_has_no_values_in_python_either(values: dict[str, Any]) -> None:
    with pytest.raises(dropcli.DropcliError, match="a mask has no values") as caught:
        dropcli.mask("x.safetensors", "m.pt", **values)
    assert caught.value.code == "mask-values"
    assert not Path("m.pt").exists()


def test_settings_of_a_filled_file_give_its_mask(run: Run) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "--fill", "3", "--seed", "7")
    assert run("mask", "x.safetensors", "-o", "m.pt", "--like", "y.safetensors").code == 0
    filled = load_file("y.safetensors")["images"] == 3
    assert torch.load("m.pt")["images"].equal(~filled)
    assert run("verify", "m.pt", "--source", "x.safetensors").code == 0
