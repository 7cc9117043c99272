"""`--like FILE`: the settings and the seed that another file records."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dropcli
from tests.builders import tree
from tests.conftest import Run
from tests.refusal import Refuse

SETTINGS = (
    "-p 0.3 --seed 5",
    "-p 0.2:0.8 --p-per sample --seed 5",
    "-k images --over 0,2:2 --exact -p 0.5 --no-rescale --seed 5",
    "--over 0,1 --min-keep 1 --fill 2.5 --seed 5",
    "--alpha --all-floats --seed 5",
    "-k images --exclude other --seed 5",
    "--rng torch --seed 5",
)


@pytest.fixture(autouse=True)
def _files() -> None:
    x = {"images": torch.rand(6, 4, 8, 8), "other": torch.randn(6, 3), "label": torch.rand(6)}
    save_file(x, "x.safetensors")
    save_file({name: value * 2 for name, value in x.items()}, "z.safetensors")


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_and_the_seed_are_those_of_the_file(run: Run, settings: str) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", *settings.split())
    run("apply", "z.safetensors", "-o", "known.safetensors", *settings.split())
    result = run("apply", "z.safetensors", "-o", "w.safetensors", "--like", "y.safetensors")
    assert result.code == 0
    assert Path("w.safetensors").read_bytes() == Path("known.safetensors").read_bytes()


def test_the_stream_is_not(run: Run) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", "5", "--stream", "elsewhere")
    run("apply", "z.safetensors", "-o", "known.safetensors", "--seed", "5")
    run("apply", "z.safetensors", "-o", "w.safetensors", "--like", "y.safetensors")
    assert Path("w.safetensors").read_bytes() == Path("known.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("recorded", "given", "meant"),
    [
        ("-p 0.3 --seed 5", "-p 0.6", "-p 0.6 --seed 5"),
        ("-p 0.3 --seed 5", "--seed 6", "-p 0.3 --seed 6"),
        ("-p 0.1:0.9 --p-per sample --seed 5", "-p 0.6", "-p 0.6 --seed 5"),
        ("--mode channel --seed 5", "--mode element", "--seed 5"),
        ("--over 0 --seed 5", "--mode patch:2", "--over 0,2:2,3:2 --seed 5"),
        ("--all-floats --seed 5", "-k images", "-k images --seed 5"),
        ("-k images --seed 5", "--all-floats", "--all-floats --seed 5"),
        ("--no-rescale --seed 5", "--rescale", "--seed 5"),
        ("--fill 3 --seed 5", "--alpha", "--alpha --seed 5"),
        ("--alpha --seed 5", "--no-rescale", "--no-rescale --seed 5"),
    ],
)
def test_options_that_are_given_replace_them(
    run: Run, recorded: str, given: str, meant: str
) -> None:
    source = ("apply", "x.safetensors", "--exclude", "other", "-o")
    assert run(*source, "y.safetensors", *recorded.split()).code == 0
    assert run(*source, "w.safetensors", "--like", "y.safetensors", *given.split()).code == 0
    assert run(*source, "known.safetensors", *meant.split()).code == 0
    assert Path("w.safetensors").read_bytes() == Path("known.safetensors").read_bytes()


def test_the_last_of_several_applications_counts(run: Run) -> None:
    run("apply", "x.safetensors", "-o", "a.safetensors", "-p", "0.2", "--seed", "1")
    run("apply", "a.safetensors", "-o", "b.safetensors", "-p", "0.4", "--seed", "2")
    result = run(
        "apply", "z.safetensors", "-o", "w.safetensors", "--like", "b.safetensors", "--json"
    )
    assert (result.json["settings"]["p"], result.json["settings"]["seed"]) == (0.4, 2)


def test_a_folder_like_a_copy_of_another(run: Run) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        save_file({"x": torch.rand(4, 4)}, f"{name}/1.safetensors")
    run("apply", "a", "-o", "out", "--copies", "2", "-p", "0.3", "--seed", "9")
    run("apply", "b", "-o", "like", "--like", "out/1.2.safetensors")
    run("apply", "b", "-o", "known", "-p", "0.3", "--seed", "9")
    assert tree("like") == tree("known")


def test_in_python() -> None:
    dropcli.apply("x.safetensors", "y.safetensors", p=0.3, seed=3, mode="patch:2", key="images")
    report = dropcli.apply("z.safetensors", "w.safetensors", like="y.safetensors", p=0.1)
    assert report.settings is not None
    assert (report.settings["seed"], report.settings["over"]) == (3, "0,2:2,3:2")
    assert report.settings["p"] == 0.1


def test_files_without_settings(refuse: Refuse) -> None:
    save_file({"x": torch.rand(2)}, "bad.safetensors", {"dropcli": '[{"settings": 1}]'})
    for name, code in (("x", "no-settings"), ("none", "os-error"), ("bad", "foreign-provenance")):
        path = f"{name}.safetensors"
        refusal = refuse("apply", "z.safetensors", "-o", "w.safetensors", "--like", path)
        assert (refusal.code, refusal.line.partition(": ")[0]) == (code, path)
