"""`dropcli apply` on one file: options, files on disk, pipes."""

import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.conftest import Run, header_of, shell

DIGITS = Path(__file__).parent.parent / "examples" / "digits.safetensors"


@pytest.fixture
def x() -> torch.Tensor:
    x = torch.rand(20, 3, 4, 4) + 0.5
    save_file({"images": x, "labels": torch.arange(20)}, "x.safetensors", {"made": "by a test"})
    return x


def test_the_digits(run: Run) -> None:
    result = run("apply", DIGITS, "-o", "y.safetensors", "-p", 0.3, "--seed", 7)
    before, after = load_file(DIGITS), load_file("y.safetensors")
    assert result.code == 0
    assert result.err == ""
    assert before["images"].shape == (1797, 1, 8, 8)
    drop = oracle.dropped((1797, 1, 8, 8), 0.3, oracle.key(7, "digits", "images"))
    assert oracle.equal_bits(after["images"], oracle.dropout(before["images"], drop, 0.3))
    assert torch.equal(after["labels"], before["labels"])


def test_the_digits_equal_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits, ours = datasets.load_digits(), load_file(DIGITS)
    assert np.array_equal(ours["images"].numpy()[:, 0] * 16, digits.images)
    assert np.array_equal(ours["labels"].numpy(), digits.target)


def test_same_seed_same_bytes_other_seed_other_bytes(run: Run, x: torch.Tensor) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("apply", "x.safetensors", "-o", f"{name}.safetensors", "--seed", seed)
    a, b, c = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a08_a_seed_that_was_drawn_is_shown_recorded_and_works_again(
    run: Run, x: torch.Tensor
) -> None:
    result = run("apply", "x.safetensors", "-o", "a.safetensors", "--json")
    seed = result.json["settings"]["seed"]
    recorded = json.loads(header_of("a.safetensors")["__metadata__"]["dropcli"])
    assert recorded[0]["settings"]["seed"] == seed
    run("apply", "x.safetensors", "-o", "b.safetensors", "--seed", seed)
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()

    shown = run("apply", "x.safetensors", "-o", "c.safetensors").out
    drawn = json.loads(header_of("c.safetensors")["__metadata__"]["dropcli"])[0]["settings"]["seed"]
    assert f"seed {drawn}" in shown
    quiet = run("apply", "x.safetensors", "-o", "d.safetensors", "-q", "--no-provenance")
    assert quiet.err.startswith("seed ")


def test_stream_gives_a_renamed_file_the_same_mask(run: Run, x: torch.Tensor) -> None:
    save_file(load_file("x.safetensors"), "other.safetensors")
    run("apply", "x.safetensors", "-o", "a.safetensors", "--seed", 1)
    run("apply", "other.safetensors", "-o", "b.safetensors", "--seed", 1)
    run("apply", "other.safetensors", "-o", "c.safetensors", "--seed", 1, "--stream", "x")
    a, b, c = (load_file(f"{name}.safetensors")["images"] for name in "abc")
    assert not torch.equal(a, b)
    assert torch.equal(a, c)


def test_key_and_exclude(run: Run) -> None:
    names = ("a.weight", "a.bias", "b.weight", "[x]")
    save_file({name: torch.ones(50) for name in names}, "x.safetensors")

    def dropped(*options: str) -> set[str]:
        assert run("apply", "x.safetensors", "-o", "y.safetensors", "-f", *options).code == 0
        return {name for name, y in load_file("y.safetensors").items() if (y == 0).any()}

    assert dropped() == set(names)
    assert dropped("-k", "*.weight") == {"a.weight", "b.weight"}
    assert dropped("--key", "a.*", "--exclude", "*.bias") == {"a.weight"}
    assert dropped("-k", "a.bias", "-k", "[x]") == {"a.bias", "[x]"}
    assert dropped("--exclude", "?.*") == {"[x]"}


def test_eval_copies_every_tensor(run: Run, x: torch.Tensor) -> None:
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--eval", "--json")
    assert torch.equal(load_file("y.safetensors")["images"], x)
    assert {tensor["action"] for tensor in result.json["files"][0]["tensors"]} == {"copied"}
    run("apply", "x.safetensors", "-o", "z.safetensors", "--eval", "--no-provenance")
    assert Path("z.safetensors").read_bytes() == Path("x.safetensors").read_bytes()


def test_in_place_keeps_mode_and_writes_through_links(run: Run, x: torch.Tensor) -> None:
    os.chmod("x.safetensors", 0o640)
    os.symlink("x.safetensors", "link.safetensors")
    result = run("apply", "link.safetensors", "--in-place", "--seed", 1, "--stream", "x")
    run("apply", "x.safetensors", "-o", "never.safetensors", "-n")
    assert result.code == 0
    assert os.path.islink("link.safetensors")
    assert stat.S_IMODE(os.stat("x.safetensors").st_mode) == 0o640
    drop = oracle.dropped((20, 3, 4, 4), 0.5, oracle.key(1, "x", "images"))
    expected = oracle.dropout(x, drop, 0.5)
    assert oracle.equal_bits(load_file("x.safetensors")["images"], expected)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_leaves(umask: int, x: torch.Tensor) -> None:
    shell(f"umask {umask:o}; dropcli apply x.safetensors -o y.safetensors -q")
    assert stat.S_IMODE(os.stat("y.safetensors").st_mode) == 0o666 & ~umask


def test_an_output_that_exists_is_kept_unless_forced(run: Run, x: torch.Tensor) -> None:
    Path("y.safetensors").write_text("precious")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--json")
    assert (result.code, result.errors) == (1, ["exists"])
    assert re.fullmatch(r"error: y\.safetensors: .*\nhint: .*--force\n", result.err)
    assert Path("y.safetensors").read_text() == "precious"
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "--force").code == 0
    assert load_file("y.safetensors")["images"].shape == x.shape


def test_a13_the_input_is_never_the_output_by_accident(run: Run, x: torch.Tensor) -> None:
    before = Path("x.safetensors").read_bytes()
    os.symlink("x.safetensors", "symlink")
    os.link("x.safetensors", "hardlink")
    for output in ("x.safetensors", "./x.safetensors", "symlink", "hardlink"):
        result = run("apply", "x.safetensors", "-o", output, "--force", "--json")
        assert (result.code, result.errors) == (2, ["same-file"])
        assert "--in-place" in result.err
    assert Path("x.safetensors").read_bytes() == before


def test_a14_a_folder_as_output_keeps_the_name(run: Run, x: torch.Tensor) -> None:
    os.mkdir("out")
    assert run("apply", "x.safetensors", "-o", "out", "-q").code == 0
    assert load_file("out/x.safetensors")["images"].shape == x.shape


def test_dry_run_writes_nothing_and_shows_the_plan(run: Run, x: torch.Tensor) -> None:
    before = os.listdir()
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "-n", "--json", "--seed", 1,
                 "--stats", "s.json")  # fmt: skip
    (file,) = result.json["files"]
    assert os.listdir() == before
    assert file["status"] == "planned"
    real = run("apply", "x.safetensors", "-o", "y.safetensors", "--json", "--seed", 1).json
    assert file["bytes"] == os.path.getsize("y.safetensors") == real["files"][0]["bytes"]
    plan = {tensor["name"]: (tensor["action"], tensor["decisions"]) for tensor in file["tensors"]}
    assert plan == {"images": ("dropped", 960), "labels": ("copied", 0)}
    unknown = [tensor["name"] for tensor in file["tensors"] if tensor["dropped"] is None]
    assert unknown == ["images"]
    assert [tensor["elements_dropped"] is None for tensor in file["tensors"]] == [
        tensor["name"] == "images" for tensor in file["tensors"]
    ]
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "-n").code == 1  # exists by now


def test_provenance_is_the_only_change_of_the_header(run: Run, x: torch.Tensor) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0.2, "--seed", 4, "--over", "0,2:2")
    before, after = header_of("x.safetensors"), header_of("y.safetensors")
    provenance = json.loads(after["__metadata__"].pop("dropcli"))
    assert list(before.items()) == list(after.items())
    assert provenance == [
        {
            "contract": "dropcli/1",
            "settings": {
                "p": 0.2,
                "seed": 4,
                "over": "0,2:2",
                "rescale": True,
                "fill": None,
                "key": [],
                "exclude": [],
                "select": "data/1",
                "eval": False,
            },
            "stream": "x",
            "copy": 0,
        }
    ]
    run("apply", "x.safetensors", "-o", "z.safetensors", "--no-provenance")
    assert header_of("z.safetensors") == before


def test_applying_twice_keeps_both_entries(run: Run, x: torch.Tensor) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    run("apply", "y.safetensors", "-o", "z.safetensors", "--seed", 2)
    entries = json.loads(header_of("z.safetensors")["__metadata__"]["dropcli"])
    assert [(entry["settings"]["seed"], entry["stream"]) for entry in entries] == [
        (1, "x"),
        (2, "y"),
    ]


def test_pipes_give_the_bytes_of_files(run: Run, x: torch.Tensor) -> None:
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0.2, "--seed", 1, "--stream", "s")
    expected = Path("y.safetensors").read_bytes()
    for command in (
        "cat x.safetensors | dropcli apply - -o - -p 0.2 --seed 1 --stream s | cat",
        "dropcli apply - -o - -p 0.2 --seed 1 --stream s < x.safetensors | cat",
        "dropcli apply <(cat x.safetensors) -o /dev/stdout -p 0.2 --seed 1 --stream s -q | cat",
        "mkfifo f; cat f & dropcli apply x.safetensors -o f -p 0.2 --seed 1 --stream s -q; wait",
    ):
        done = shell(f"set -o pipefail; {command}")
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected, command
    table = shell("dropcli apply x.safetensors -o - -p 0.2 --seed 1 | cat >/dev/null").stderr
    assert b"images" in table


def test_standard_input_is_the_stream_called_dash(x: torch.Tensor) -> None:
    output = shell("dropcli apply - -o - --seed 1 -q | cat", Path("x.safetensors").read_bytes())
    Path("y.safetensors").write_bytes(output.stdout)
    drop = oracle.dropped((20, 3, 4, 4), 0.5, oracle.key(1, "-", "images"))
    expected = oracle.dropout(x, drop, 0.5)
    assert oracle.equal_bits(load_file("y.safetensors")["images"], expected)


def test_e01_a_closed_pipe_ends_quietly(x: torch.Tensor) -> None:
    save_file({"x": torch.rand(1 << 20)}, "big.safetensors")
    done = shell("set -o pipefail; dropcli apply big.safetensors -o - -q | head -c 10 >/dev/null")
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_closed_pipe_for_the_table_ends_quietly(x: torch.Tensor) -> None:
    done = shell("set -o pipefail; dropcli info x.safetensors | true")
    assert done.returncode in (0, 141)  # 0 where the table was faster
    assert done.stderr == b""


def test_a14_dev_null(run: Run, x: torch.Tensor) -> None:
    assert run("apply", "x.safetensors", "-o", "/dev/null", "-q").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_many_small_tensors_in_one_file(run: Run) -> None:
    tensors = {f"t{i}": torch.rand(i % 7, 3) for i in range(3000)}
    save_file(tensors, "x.safetensors")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    ours = load_file("y.safetensors")
    for name, x in tensors.items():
        drop = oracle.dropped(tuple(x.shape), 0.5, oracle.key(1, "x", name))
        assert oracle.equal_bits(ours[name], oracle.dropout(x, drop, 0.5))
    assert len(result.out.splitlines()) < 80
    assert "2,990 more tensors" in result.out
    full = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "-f", "-v").out
    assert len(full.splitlines()) > 9000


def test_the_same_masks_twice_give_a_warning(run: Run, x: torch.Tensor) -> None:
    run("apply", "x.safetensors", "--in-place", "--seed", 1)
    again = run("apply", "x.safetensors", "--in-place", "--seed", 1, "--json")
    assert (again.code, again.warnings) == (0, ["applied-before"])
    assert run("apply", "x.safetensors", "--in-place", "--seed", 2).err == ""


def test_a_pipe_by_its_path_is_the_stream_called_dash(x: torch.Tensor) -> None:
    for command in ("cat x.safetensors | dropcli apply /dev/stdin -o a.safetensors --seed 1 -q",
                    "dropcli apply <(cat x.safetensors) -o b.safetensors --seed 1 -q"):  # fmt: skip
        assert shell(command).returncode == 0
    a, b = (
        json.loads(header_of(f"{name}.safetensors")["__metadata__"]["dropcli"]) for name in "ab"
    )
    assert a == b
    assert a[0]["stream"] == "-"


def test_eval_records_no_seed(run: Run, x: torch.Tensor) -> None:
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--eval")
    assert (result.code, result.err) == (0, "")
    (entry,) = json.loads(header_of("y.safetensors")["__metadata__"]["dropcli"])
    assert entry["settings"]["seed"] is None
    assert "evaluation mode, nothing dropped" in run("info", "y.safetensors").out
