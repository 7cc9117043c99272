"""Tensors that are dropped by default: those that look like data, not labels or state."""

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run, redirected

Tensors = dict[str, torch.Tensor]


def actions(run: Run, tensors: Tensors, *options: object) -> dict[str, tuple[str, Any]]:
    """The action of a run for each tensor, with the reason; the bytes on disk agree."""
    save_file(tensors, "x.safetensors")
    result = run("apply", "x.safetensors", "-fo", "y.safetensors", "--seed", 1, "--json", *options)
    assert result.code == 0, result.err
    written = load_file("y.safetensors")
    found = {}
    for tensor in result.json["files"][0]["tensors"]:
        name = tensor["name"]
        found[name] = (tensor["action"], tensor.get("reason"))
        same = torch.equal(written[name], tensors[name])
        assert same == (tensor["action"] == "copied")
    return found


def dropped(run: Run, tensors: Tensors, *options: object) -> set[str]:
    return {
        name for name, (action, _) in actions(run, tensors, *options).items() if action == "dropped"
    }


def test_scalars_beside_other_tensors(run: Run) -> None:
    tensors = {"emb": torch.rand(9, 5) + 1, "label": torch.ones(()), "loss": torch.ones(())}
    assert actions(run, tensors) == {
        "emb": ("dropped", None),
        "label": ("copied", "a scalar beside other tensors"),
        "loss": ("copied", "a scalar beside other tensors"),
    }
    # A single scalar is data: 64 copies are enough for one to drop.
    torch.save(torch.tensor(2.5), "s.pt")
    assert run("apply", "s.pt", "-o", "out/", "--copies", 64, "--seed", 1, "-q").code == 0
    assert {float(torch.load(path)) for path in Path("out").glob("*.pt")} == {0.0, 5.0}


@pytest.mark.parametrize(
    "name",
    [
        *("label", "Labels", "a.target", "TARGETS", "class", "classes", "b.c.score", "scores"),
        *("step", "lr", "bn.running_mean", "running_var", "state.0.exp_avg", "state.1.exp_avg_sq"),
        *("num_batches_tracked", "label#2"),
    ],
)
def test_names_of_labels_and_state(run: Run, name: str) -> None:
    tensors = {"x": torch.rand(9, 9) + 1, name: torch.rand(4, 40) + 1}
    assert dropped(run, tensors) == {"x"}
    assert dropped(run, tensors, "-k", name) == {name}
    assert dropped(run, tensors, "-k", "*") == {"x", name}
    assert dropped(run, tensors, "--all-floats") == {"x", name}


def test_names_that_only_look_alike(run: Run) -> None:
    names = ("label_embedding", "mylabel", "labels.weight", "stepper", "y", "train.y", "lr2")
    tensors = {name: torch.rand(3, 40) + 1 for name in names}
    assert dropped(run, tensors) == set(names)


def test_y_beside_x(run: Run) -> None:
    names = ("x", "y", "train.X", "train.Y", "other.y")
    tensors = {name: torch.rand(3, 40) + 1 for name in names}
    assert dropped(run, tensors) == {"x", "train.X", "other.y"}


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_one_value_per_sample(run: Run, shape: tuple[int, ...]) -> None:
    rewards = torch.rand(shape) + 1
    tokens = torch.randint(0, 9, (60, 12))
    with_floats = {"rewards": rewards, "tokens": tokens, "emb": torch.rand(60, 7) + 1}
    assert actions(run, with_floats) == {
        "rewards": ("copied", "one value per sample"),
        "tokens": ("copied", None),
        "emb": ("dropped", None),
    }
    # Another length, one column, the name of a bias, or different numbers of samples: data.
    others: list[Tensors] = [
        {"rewards": torch.rand(59) + 1, "emb": with_floats["emb"]},
        {"rewards": rewards, "emb": torch.rand(60, 1) + 1},
        {"rewards": rewards, "emb": with_floats["emb"], "w": torch.rand(9, 60) + 1},
        {"rewards": rewards, "emb": with_floats["emb"], "ints": torch.ones(3, 5).int()},
        {"fc.bias": rewards, "fc.weight": torch.rand(60, 7) + 1},
    ]
    for tensors in others:
        floats = {name for name, x in tensors.items() if x.is_floating_point()}
        assert dropped(run, tensors) == floats
    assert dropped(run, {"one": torch.ones(1), "x": torch.rand(1, 40) + 1}) >= {"x"}


@pytest.mark.parametrize(
    "saved",
    [
        (torch.rand(50, 6) + 1, torch.rand(50) + 1),
        torch.utils.data.TensorDataset(torch.rand(50, 6) + 1, torch.rand(50, 1) + 1),
        {"train": [torch.rand(50, 3, 4) + 1, torch.rand(50) + 1]},
    ],
    ids=["tuple", "TensorDataset", "list"],
)
def test_pairs_of_inputs_and_targets(run: Run, saved: object) -> None:
    torch.save(saved, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    data, target = result.json["files"][0]["tensors"]
    assert (data["action"], target["action"]) == ("dropped", "copied")
    assert target["reason"] == "one value per sample"
    assert result.warnings.count("looks-like-label") == 1


def test_a_checkpoint_keeps_its_state(run: Run) -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Conv2d(5, 2, 3)
    )
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    optimizer.step()
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "optim": optimizer.state_dict(),
        "loss": torch.rand(()),
    }
    torch.save(state, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    names = {t["name"] for t in result.json["files"][0]["tensors"] if t["action"] == "dropped"}
    assert names == {f"model.{n}.{kind}" for n in (0, 1, 2) for kind in ("weight", "bias")}
    after = torch.load("y.pt")
    assert torch.equal(after["model"]["1.running_var"], state["model"]["1.running_var"])
    assert after["optim"]["state"][0]["step"] == 1


def test_memory_that_is_shared_with_a_label_is_not_changed(run: Run) -> None:
    x = torch.rand(20, 4) + 1
    torch.save({"a": x, "label": x, "b": torch.rand(20, 4) + 1}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    found = {t["name"]: t for t in result.json["files"][0]["tensors"]}
    assert found["a"]["reason"] == "shares its memory with 'label'"
    assert [found[name]["action"] for name in ("a", "label", "b")] == [
        "copied",
        "copied",
        "dropped",
    ]
    assert torch.equal(torch.load("y.pt")["a"], x)


def test_warnings_name_what_is_left_out_and_how_to_drop_it(run: Run) -> None:
    save_file({"x": torch.rand(9, 9), "my label.label": torch.rand(9)}, "x.safetensors")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    warnings = [line for line in result.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    for words in ("'my label.label'", "-k 'my label.label'", "--all-floats"):
        assert words in warnings[0]
    assert run("apply", "x.safetensors", "-fo", "y.safetensors", "--all-floats").err == ""
    again = run("apply", "x.safetensors", "-fo", "y.safetensors", "--exclude", "*.label")
    assert again.err == ""


def test_all_floats_and_key_do_not_go_together(run: Run) -> None:
    save_file({"x": torch.rand(9, 9)}, "x.safetensors")
    words = ("apply", "x.safetensors", "-o", "y.safetensors", "--all-floats", "-k", "x")
    result = run(*words, "--json")
    assert (result.code, result.errors) == (2, ["do-not-go-together"])


NOTHING: list[tuple[Tensors, tuple[str, ...], tuple[str, ...]]] = [
    ({}, (), ()),
    ({"images": torch.ones(5, 8, 8).byte()}, (), ("'images' (U8)", "-k images --no-rescale")),
    ({"images": torch.ones(5).byte()}, ("--no-rescale",), ("-k images",)),
    ({"z": torch.ones(5, dtype=torch.complex64)}, (), ("'z' (C64)", "-k z")),
    ({"label": torch.ones(5)}, (), ("'label'", "-k label", "--all-floats")),
    ({"x": torch.ones(5)}, ("--exclude", "x"), ("--exclude",)),
]


@pytest.mark.parametrize(("tensors", "options", "says"), NOTHING, ids=str)
def test_nothing_is_selected(
    run: Run, tensors: Tensors, options: tuple[str, ...], says: tuple[str, ...]
) -> None:
    save_file(tensors, "x.safetensors")
    before = Path("x.safetensors").read_bytes()
    joined = ("-o", "y.safetensors", "--copies", 2, "--concat")
    copies = ("-o", "out", "--copies", 2)
    plain = ("-o", "y.safetensors")
    for target in (plain, (*plain, "-n"), ("--in-place",), joined, copies):
        result = run("apply", "x.safetensors", *target, *options, "--seed", 1, "--json")
        assert (result.code, result.errors) == (1, ["nothing-selected"])
        for words in says:
            assert words in result.err
        assert os.listdir() == ["x.safetensors"]
        assert Path("x.safetensors").read_bytes() == before
    for words in ("-p 0", "--eval", "-p 0:0"):
        done = run("apply", "x.safetensors", "-fo", "y.safetensors", *options, *words.split())
        assert done.code == 0
        assert load_file("y.safetensors").keys() == tensors.keys()
        done = run("apply", "x.safetensors", "-f", *joined, *options, *words.split())
        assert done.code == 0, done.err
        assert load_file("y.safetensors").keys() == tensors.keys()


def test_an_empty_tensor_and_a_p_that_drops_nothing_are_no_error(run: Run) -> None:
    save_file({"x": torch.ones(0, 3)}, "x.safetensors")
    assert run("apply", "x.safetensors", "-o", "y.safetensors").code == 0
    save_file({"x": torch.ones(3)}, "x.safetensors")
    assert run("apply", "x.safetensors", "-fo", "y.safetensors", "-p", 1e-9).code == 0


def test_a_file_of_numpy_arrays_is_reported_as_such(run: Run) -> None:
    torch.save({"a": np.ones(3)}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["nothing-selected"])
    assert "numpy" in result.err


def test_standard_input_has_the_same_errors(run: Run) -> None:
    save_file({"images": torch.ones(5).byte()}, "x.safetensors")
    with redirected(0, "x.safetensors", os.O_RDONLY):
        result = run("apply", "-", "-o", "y.safetensors", "--seed", 1, "--json")
    assert (result.code, result.errors) == (1, ["nothing-selected"])
    assert result.err.startswith("error: standard input: ")
    assert not Path("y.safetensors").exists()


def test_exclude_that_cancels_key_is_named(run: Run) -> None:
    save_file({"x": torch.rand(9, 9), "i": torch.arange(3)}, "x.safetensors")
    words = ("apply", "x.safetensors", "-o", "y.safetensors", "-k", "x", "--exclude", "x")
    result = run(*words, "--json")
    assert (result.code, result.errors) == (1, ["nothing-selected"])
    assert all(option in result.err for option in ("--key", "--exclude"))


@pytest.mark.parametrize("name", ["label\x1b[0m.label", "*.label", "a?[b].label", "it's.label"])
def test_the_pattern_in_a_hint_drops_that_tensor_alone(run: Run, name: str) -> None:
    save_file({"x": torch.rand(9, 9) + 1, name: torch.rand(9) + 1, "my.label": torch.rand(9)},
              "x.safetensors")  # fmt: skip
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--json")
    (message,) = (w["message"] for w in result.json["warnings"] if name in w["message"])
    option, pattern = shlex.split(message.partition("; ")[2].partition(" drops it")[0])
    again = run("apply", "x.safetensors", "-fo", "y.safetensors", option, pattern, "--json")
    assert again.code == 0, again.err
    actions = {t["name"]: t["action"] for t in again.json["files"][0]["tensors"]}
    assert [found for found, action in actions.items() if action == "dropped"] == [name]
