"""Which files of a dataset are found, and the names of their outputs."""

import os
import zipfile
from pathlib import Path

import pytest
import torch

from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run, shell


def test_one_mask_alone_in_a_folder_in_any_subset_and_order(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    run("apply", "data", "-o", "out", *SETTINGS)
    whole = tree("out")

    run("apply", "data/b.safetensors", "-o", "alone.safetensors", *SETTINGS)
    assert Path("alone.safetensors").read_bytes() == whole["b.safetensors"]
    run("apply", "data/a.pt", "data/b.safetensors", "-o", "two", *SETTINGS)
    assert tree("two") == {name: whole[name] for name in ("a.pt", "b.safetensors")}
    run("apply", "data/**/*.pt", "-o", "glob", *SETTINGS)
    assert tree("glob") == {name: whole[name] for name in whole if name.endswith(".pt")}
    run("apply", "data/*/0.*", "-o", "middle", *SETTINGS)
    assert tree("middle") == {
        name: whole[name] for name in ("train/0.safetensors", "val/0.safetensors")
    }
    find = "find {} -name '*.pt' -o -name '*.safetensors'"
    for number, command in enumerate(
        (
            find.format("data") + " | tac | dropcli apply data --files-from - -o {}",
            f"cd data; {find.format('.')} | dropcli apply --files-from - -o ../{{}}",
            f"cd data; {find.format('.')} | tr '\\n' '\\0' |"
            " dropcli apply --files-from - -0 -o ../{}",
            f"(cd data; {find.format('.')}) > l; dropcli apply data --files-from l -o {{}}",
        )
    ):
        done = shell(f"{command.format(f'listed{number}')} -p 0.3 --seed 7")
        assert (done.returncode, tree(f"listed{number}")) == (0, whole), done.stderr


def test_a15_an_output_inside_the_input_is_not_walked(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    run("apply", "data", "-o", "elsewhere", *SETTINGS)
    for _ in range(2):
        assert run("apply", "data", "-o", "data/out", *SETTINGS, "--force").code == 0
        assert tree("data/out") == tree("elsewhere")
    result = run("apply", "data", "-o", "./data/.", *SETTINGS, "--json")
    assert (result.code, result.errors) == (2, ["same-folder"])
    assert result.err.startswith("error: data: ")


@pytest.mark.parametrize(
    "inputs", [("train", "val/0.pt"), ("train/0.pt", "val/0.pt"), ("train", "val/*.pt")], ids=str
)
def test_a16_two_inputs_of_one_output_are_named_before_any_work(
    run: Run, inputs: tuple[str, ...]
) -> None:
    sample("train/0.pt")
    sample("val/0.pt", 1)
    for more in ((), ("-n",), ("--force",)):
        result = run("apply", *inputs, "-o", "out", *more, "--json")
        assert (result.code, result.errors) == (2, ["collision"])
        assert result.err.startswith("error: out/0.pt: ")
        assert "'train/0.pt'" in result.err
        assert not Path("out").exists()


def test_the_same_file_twice_is_one(run: Run) -> None:
    sample("a.pt")
    assert run("apply", "a.pt", "./a.pt", "*.pt", "-o", "out").code == 0
    assert list(tree("out")) == ["a.pt"]


def test_f09_f10_links_are_followed_and_loops_are_not(run: Run) -> None:
    sample("data/real/0.pt")
    os.symlink(".", "data/here")
    os.symlink("..", "data/real/up")
    os.symlink("real", "data/again")
    os.symlink("0.pt", "data/real/1.pt")
    os.symlink("missing", "data/2.pt")
    os.mkfifo("data/3.pt")
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.errors) == (3, ["os-error"])
    assert set(tree("out")) == {"real/0.pt", "real/1.pt", "again/0.pt", "again/1.pt"}
    assert set(result.warnings) == {"link-to-above"}
    assert "warning: data/here: " in result.err
    assert result.err.endswith("error: data/2.pt: no such file or directory\n")


def test_f09_a_link_that_cannot_be_followed_fails_alone(run: Run) -> None:
    for name in ("a", "m/b", "z"):
        sample(f"data/{name}.pt")
    os.symlink("loop.pt", "data/loop.pt")
    os.symlink("a.pt/x", "data/c")
    result = run("apply", "data", "-o", "out")
    assert (result.code, set(tree("out"))) == (3, {"a.pt", "m/b.pt", "z.pt"})
    assert result.err.splitlines()[-1].startswith("error: data/loop.pt: too many levels")
    assert "ignored  1 file of other kinds" in result.out


def test_globs_leave_others_and_the_output(run: Run) -> None:
    sample("data/a.pt")
    Path("data/readme.txt").write_text("hello")
    for words in (("--seed", 7), ("--resume", "--seed", 7), ("--force",)):
        result = run("apply", "data/**/*", "-o", "data/out", *words)
        assert (result.code, "1 file of other kinds" in result.out) == (0, True), result.err
    Path("data/a.pt").rename("data/a.bin")
    assert run("apply", "data/*.bin", "-o", "bins").code == 0


NAMES = (
    "new\nline.pt",
    "[red]x[-red].pt",
    "\x1b[2J.pt",
    "*.pt",
    "a b'\".pt",
    "é.pt",
    "-p.pt",
    ".h.pt",
)


def test_f14_odd_names_are_names(run: Run) -> None:
    for number, name in enumerate(NAMES):
        sample(f"data/{name}", number)
    with open(b"data/\xff.pt", "wb") as file:
        file.write(Path("data/é.pt").read_bytes())
    result = run("apply", "data", "-o", "out", *SETTINGS, "-v")
    assert result.code == 0
    assert set(os.listdir(b"out")) == {*map(os.fsencode, NAMES), b"\xff.pt", b"dropcli.jsonl"}
    assert "\x1b" not in result.out + result.err
    assert "[red]x[-red].pt" in result.out
    assert "new\\nline.pt" in result.out
    assert len(Path("out/dropcli.jsonl").read_text().splitlines()) == len(NAMES) + 1
    assert run("apply", "data/[red]x[-red].pt", "-o", "alone.pt", *SETTINGS).code == 0
    assert Path("alone.pt").read_bytes() == Path("out/[red]x[-red].pt").read_bytes()
    resumed = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert {file["status"] for file in resumed.json["files"]} == {"skipped"}


def test_lists_name_files_below_the_folder_given_beside_them(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    sample("a.pt", 99)  # not the one that is meant
    Path("below").write_text("a.pt\n")
    run("apply", "data", "--files-from", "below", "-o", "listed", *SETTINGS)
    run("apply", "data/a.pt", "-o", "y.pt", *SETTINGS)
    assert Path("listed/a.pt").read_bytes() == Path("y.pt").read_bytes()
    Path("null").write_bytes(b"data/a.pt\0data/b.safetensors\0")
    Path("outside").write_text("data/a.pt\n")
    for words, code in (
        (("--files-from", "null"), "null-bytes"),
        (("data/val", "--files-from", "outside"), "not-below"),
    ):
        result = run("apply", *words, "-o", "out", "--json")
        assert (result.code, result.errors) == (2, [code])
        assert not Path("out").exists()


FOUND = (
    *("a.ckpt", "pytorch_model.bin", "m.pth.tar", "train/x.sav", "old.weights", "archive", "s.bin"),
    *("train/plain", ".hidden"),
)


def test_files_of_shared_names_are_found_by_their_first_bytes(run: Run) -> None:
    x = sample("data/x.pt")
    sample("data/s.safetensors")
    Path("data/train").mkdir()
    saved, tensors = Path("data/x.pt").read_bytes(), Path("data/s.safetensors").read_bytes()
    torch.save({"x": x}, "old", _use_new_zipfile_serialization=False)
    for name in FOUND:
        data = tensors if name == "s.bin" else saved
        Path(f"data/{name}").write_bytes(Path("old").read_bytes() if "old" in name else data)
    others = {
        "Makefile": b"all:\n",
        "LICENSE": b"PK\3\4",
        "firmware.bin": bytes(600),
        "short.bin": b"\x08",
        "empty": b"",
        "labels.ckpt": b"1 2 3",
        "x.zip": saved,
        "x.onnx": saved,
    }
    for name, content in others.items():
        Path(f"data/{name}").write_bytes(content)
    os.mkfifo("data/pipe")
    for archive, members in {
        "script.bin": ("s/data.pkl", "s/constants.pkl"),
        "npz": ("a.npy",),
    }.items():
        with zipfile.ZipFile(f"data/{archive}", "w") as file:
            for member in members:
                file.writestr(member, b"x")
    os.symlink("nowhere", "data/link")

    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.errors) == (0, []), result.err
    assert set(tree("out")) == {"x.pt", "s.safetensors", *FOUND}
    assert {file["source"] for file in run("info", "data", "--json").json["files"]} == {
        f"data/{name}" for name in ("x.pt", "s.safetensors", *FOUND)
    }
    run("apply", "data/m.pth.tar", "-o", "alone.pt", *SETTINGS)
    assert Path("alone.pt").read_bytes() == tree("out")["m.pth.tar"]
    assert run("verify", "out", "--source", "data").code == 0
    again = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json").json["files"]
    assert {file["status"] for file in again} == {"skipped"}


def test_a_truncated_checkpoint_is_found_and_reported_as_damaged(run: Run) -> None:
    sample("data/x.pt")
    data = Path("data/x.pt").read_bytes()
    Path("data/x.ckpt").write_bytes(data[: len(data) // 2])
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.errors) == (3, ["damaged-archive"])
    assert set(tree("out")) == {"x.pt"}
