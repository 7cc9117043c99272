"""The meaning of `-o OUTPUT`: files, folders, suffixes; and the names of several folders."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Run, codes, shell


@pytest.fixture(autouse=True)
def x() -> torch.Tensor:
    tensor = torch.rand(9, 9) + 1
    save_file({"x": tensor}, "x.safetensors")
    torch.save({"x": tensor}, "x.pt")
    return tensor


FOREIGN = [
    *("npy", "npz", "png", "jpg", "JPEG", "gif", "json", "jsonl", "csv", "txt", "h5", "hdf5"),
    *("parquet", "zip", "html", "md"),
]


@pytest.mark.parametrize("suffix", FOREIGN)
def test_suffixes_of_other_formats_are_refused(run: Run, suffix: str) -> None:
    for inputs in (("x.pt",), ("x.pt", "x.safetensors")):
        result = run("apply", *inputs, "-o", f"y.{suffix}", "--json")
        assert (result.code, result.errors) == (2, ["foreign-suffix"])
        assert not Path(f"y.{suffix}").exists()
    Path(f"y.{suffix}").write_text("old")
    assert run("apply", "x.pt", "-fo", f"y.{suffix}").code == 2
    assert Path(f"y.{suffix}").read_text() == "old"


def test_a_folder_may_have_any_name(run: Run) -> None:
    Path("y.json").mkdir()
    assert run("apply", "x.pt", "-o", "y.json").code == 0
    assert run("apply", "x.pt", "-o", "z.zip/").code == 0
    assert run("apply", "x.pt", "x.safetensors", "-o", "w.md/").code == 0
    assert sorted(map(str, Path().rglob("x.*"))) == [
        *("w.md/x.pt", "w.md/x.safetensors", "x.pt", "x.safetensors", "y.json/x.pt", "z.zip/x.pt")
    ]


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".weights", ".pth", ".SAFETENSORS"])
def test_any_other_suffix_keeps_or_converts(run: Run, suffix: str) -> None:
    assert run("apply", "x.pt", "-o", f"y{suffix}").code == 0
    is_zip = Path(f"y{suffix}").read_bytes()[:2] == b"PK"
    assert is_zip == (suffix != ".SAFETENSORS")


def test_a_new_output_needs_a_suffix(run: Run) -> None:
    for source, offered in (("x.pt", "out.pt"), ("x.safetensors", "out.safetensors")):
        result = run("apply", source, "-o", "out", "--json")
        assert (result.code, result.errors) == (2, ["no-suffix"])
        assert "out/" in result.err
        assert offered in result.err
        assert not Path("out").exists()
    assert run("apply", "x.pt", "-o", "./.hidden").code == 2
    assert run("apply", "x.pt", "--concat", "--copies", 2, "-o", "out").code == 2
    Path("out").write_text("old")
    assert run("apply", "x.pt", "-o", "out").code == 1  # it exists
    assert run("apply", "x.pt", "-fo", "out").code == 0
    assert torch.load("out")["x"].shape == (9, 9)


def test_devices_pipes_and_descriptors_need_none() -> None:
    for words in (
        "dropcli apply x.pt -o /dev/null -q",
        "dropcli apply x.pt -o /dev/stdout -q | cat > y",
        "(dropcli apply x.pt -o /dev/fd/3 -q 3>&1 >&2) | cat > y",
        "mkfifo p; cat p > y & dropcli apply x.pt -o p -q; wait",
    ):
        done = shell(words)
        assert (done.returncode, done.stderr) == (0, b""), words
    assert torch.load("y")["x"].shape == (9, 9)


def test_a_slash_makes_a_folder(run: Run) -> None:
    assert run("apply", "x.pt", "-o", "a/b/", "-n").code == 0
    assert not Path("a").exists()
    assert run("apply", "x.pt", "-o", "a/b/", "--seed", 1).code == 0
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1).code == 0
    assert torch.equal(torch.load("a/b/x.pt")["x"], torch.load("y.pt")["x"])
    assert run("apply", "x.pt", "-o", "a/b/").code == 1  # there already
    assert run("apply", "x.pt", "-o", "x.safetensors/").code != 0
    assert load_file("x.safetensors")["x"].shape == (9, 9)


def test_statistics_go_into_a_new_folder(run: Run) -> None:
    assert run("apply", "x.pt", "-o", "new/", "--stats", "new/s.json").code == 0
    assert Path("new/s.json").exists()


def test_a_pipe_has_no_name_for_a_folder() -> None:
    for source in ("- < x.pt", "<(cat x.pt)"):
        for folder in ("new/", "."):
            done = shell(f"dropcli apply --json {source} -o {folder}")
            assert (done.returncode, codes(done.stdout)) == (2, ["no-name"])
    assert sorted(os.listdir()) == ["x.pt", "x.safetensors"]


@pytest.fixture
def data() -> None:
    for name in ("train/0", "train/deep/1", "val/0", "val/2"):
        path = Path(f"data/{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.rand(9, 9)}, path)


def tree(folder: str) -> dict[str, bytes]:
    paths = (path for path in Path(folder).rglob("*.safetensors"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "folders",
    [
        ("data/train", "data/val"),
        ("data/val/", "./data/train/"),
        ("data/val", "data/train/deep/.."),
        ("data/val", "data/train", "data/val"),
    ],
)
def test_several_folders_give_what_the_one_above_gives(run: Run, folders: tuple[str, ...]) -> None:
    assert run("apply", "data", "-o", "whole", "--seed", 1).code == 0
    result = run("apply", *folders, "-o", "out", "--seed", 1, "--json")
    assert result.code == 0, result.err
    assert tree("out") == tree("whole")
    streams = {file["stream"] for file in result.json["files"]}
    assert streams == {"train/0", "train/deep/1", "val/0", "val/2"}
    assert run("verify", "out", "--source", "data").code == 0


@pytest.mark.usefixtures("data")
def test_the_layout_is_shown(run: Run) -> None:
    result = run("apply", "data/train", "data/val", "-o", "out")
    assert "layout   each folder keeps its name: out/train, out/val\n" in result.out
    assert "layout" not in run("apply", "data/train", "-o", "one").out


@pytest.mark.usefixtures("data")
def test_folders_of_one_name_are_merged_unless_files_collide(run: Run) -> None:
    shutil.copytree("data/train", "other/train")
    result = run("apply", "data/train", "other/train", "-o", "out", "--json")
    assert (result.code, result.errors) == (2, ["collision"])
    Path("other/train/0.safetensors").rename("other/train/9.safetensors")
    shutil.rmtree("other/train/deep")
    assert run("apply", "data/train", "other/train", "-o", "out").code == 0
    assert set(tree("out")) == {f"train/{name}.safetensors" for name in ("0", "deep/1", "9")}


@pytest.mark.usefixtures("data")
def test_one_folder_beside_files_keeps_its_names(run: Run) -> None:
    assert run("apply", "data/val", "x.safetensors", "-o", "out").code == 0
    assert set(tree("out")) == {"0.safetensors", "2.safetensors", "x.safetensors"}
