"""Whole datasets: which files are found, what they are called, where they go."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run, shell


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    """A dataset with folders, both formats, and other files; the tensors by their streams."""
    tensors = {
        name: sample(f"data/{name}{'.pt' if number % 2 else '.safetensors'}", number)
        for number, name in enumerate(("b", "a", "train/0", "train/1", "val/0", "v/a.b/c.d"))
    }
    Path("data/readme.txt").write_text("hello")
    Path("data/train/classes.json").write_text("{}")
    return tensors


def test_a_folder_is_mirrored_and_others_are_left_and_counted(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert result.code == 0
    assert result.json["status"] == "success"
    assert [file["status"] for file in result.json["files"]] == ["written"] * 6
    assert set(tree("out")) == {name for name in tree("data") if name.endswith(("pt", "tensors"))}
    for name, x in data.items():
        path = next(Path("out").glob(f"{name}.[ps]*"))
        y = (torch.load(path) if path.suffix == ".pt" else load_file(path))["x"]
        drop = oracle.dropped(x.shape, 0.3, oracle.key(7, name, "x"))
        assert oracle.equal_bits(y, oracle.dropout(x, drop, 0.3))

    shown = run("apply", "data", "-o", "out2", *SETTINGS).out
    assert "written  6 files" in shown
    assert "ignored  2 files of other kinds" in shown


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


def test_f09_f10_links_are_followed_but_not_round_and_round(run: Run) -> None:
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


def test_f09_a_link_that_cannot_be_followed_costs_itself_alone(run: Run) -> None:
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


def test_others_are_copied_when_asked(run: Run, data: dict[str, torch.Tensor]) -> None:
    result = run("apply", "data", "-o", "out", *SETTINGS, "--copy-others", "--json")
    assert set(tree("out")) == set(tree("data"))
    assert Path("out/readme.txt").read_text() == "hello"
    assert len(result.json["files"]) == 8


def test_damaged_files_cost_themselves_alone(run: Run, data: dict[str, torch.Tensor]) -> None:
    whole = Path("data/train/0.safetensors").read_bytes()
    Path("data/train/0.safetensors").write_bytes(whole[:-3])
    Path("data/empty.pt").touch()
    os.mkdir("data/z.pt")
    for jobs in (1, 2):
        result = run("apply", "data", "-o", f"out{jobs}", *SETTINGS, "--json", "-j", jobs)
        assert result.code == 3
        assert result.json["status"] == "partial"
        assert [(e["source"], e["code"]) for e in result.json["errors"]] == [
            ("data/empty.pt", "truncated-header"),
            ("data/train/0.safetensors", "truncated-data"),
        ]
        assert len(tree(f"out{jobs}")) == 5
        *_, first, second, _hint = result.err.splitlines()
        assert first.startswith("error: data/empty.pt: ")
        assert second.startswith("error: data/train/0.safetensors: ")

    result = run("apply", "data/empty.pt", "data/train/0.safetensors", "-o", "none", "--json")
    assert (result.code, result.json["status"]) == (1, "error")
    assert not tree("none")
    assert not Path("none/dropcli.jsonl").exists()


def test_fail_fast_stops_at_the_first(run: Run) -> None:
    for number in range(20):
        sample(f"data/{number:02}.pt", number)
    Path("data/03.pt").write_bytes(b"")
    result = run("apply", "data", "-o", "out", "--fail-fast", "--json", "-j", 1)
    assert result.code == 3
    assert len(result.json["errors"]) == 1
    assert len(tree("out")) == 3


def test_a18_a22_unreadable_folders_and_missing_files_are_failures(run: Run) -> None:
    sample("a.pt")
    result = run("apply", "a.pt", "missing.pt", "-o", "out", "--json")
    assert result.code == 3
    assert result.json["errors"][0]["source"] == "missing.pt"
    for inputs, exit_code, code in (
        (("none*.pt",), 1, "no-match"),
        (("a.pt", "-"), 2, "standard-input"),
        (("empty",), 1, "no-files"),
    ):
        Path("empty").mkdir(exist_ok=True)
        result = run("apply", *inputs, "-o", "other", "--json")
        assert (result.code, result.errors) == (exit_code, [code])
        assert not Path("other").exists()


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


def test_concat_says_what_it_cannot_do(run: Run) -> None:
    save_file({"a": torch.rand(3, 2), "b": torch.rand(4)}, "x.safetensors")
    torch.save({"a": torch.rand(3)}, "x.pt")
    for source, output, code in (
        ("x.safetensors", "y.safetensors", "no-common-dimension"),
        ("x.pt", "y.pt", "concat-pt"),
        ("x.safetensors", "y.pt", "concat-pt"),
    ):
        result = run("apply", source, "-o", output, "--copies", 2, "--concat", "--json")
        assert (result.code, result.errors) == (1, [code])
        assert not Path(output).exists()


def test_in_place_over_a_folder(run: Run, data: dict[str, torch.Tensor]) -> None:
    run("apply", "data", "-o", "out", *SETTINGS)
    shutil.copytree("data", "other")
    result = run("apply", "data", "--in-place", *SETTINGS)
    assert result.code == 0
    assert "replaced  6 files" in result.out
    assert tree("data") == tree("out") | {
        name: tree("other")[name] for name in ("readme.txt", "train/classes.json")
    }
    again = run("apply", "data", "--in-place", "--resume", *SETTINGS)
    assert "skipped   6 files, done before" in again.out
    assert tree("data")["a.pt"] == tree("out")["a.pt"]

    os.symlink("b.safetensors", "other/c.safetensors")
    result = run("apply", "other", "--in-place", "--json")
    assert (result.code, result.errors) == (2, ["collision"])
    assert all(f"'other/{name}.safetensors'" in result.err for name in "bc")


def test_a_dry_run_writes_nothing_and_plans_everything(
    run: Run, data: dict[str, torch.Tensor]
) -> None:
    before = tree(".")
    result = run("apply", "data", "-o", "out", "--copies", 2, "-n", *SETTINGS, "--json")
    assert tree(".") == before
    assert not Path("out").exists()
    assert [file["output"] for file in result.json["files"]][:2] == ["out/a.1.pt", "out/a.2.pt"]
    assert {file["status"] for file in result.json["files"]} == {"planned"}
    rows = [tensor for file in result.json["files"] for tensor in file["tensors"]]
    assert all((row["dropped"] is None) == (row["action"] == "dropped") for row in rows)
    run("apply", "data", "-o", "out", "--copies", 2, *SETTINGS)
    sizes = {file["output"]: file["bytes"] for file in result.json["files"]}
    assert sizes == {f"out/{name}": len(data) for name, data in tree("out").items()}

    Path("out/a.1.pt").unlink()
    shown = run("apply", "data", "-o", "out", "--copies", 2, *SETTINGS, "-n", "--resume").out
    assert "would write  1 file" in shown
    assert "skipped      11 files, done before" in shown
    assert run("apply", "data", "-o", "out", "--copies", 2, "-n", *SETTINGS).code == 1

    Path("other/train").mkdir(parents=True)
    Path("other/train/1.pt").write_text("not ours")
    Path("other/val").write_text("a file where a folder should be")
    for dry in (("-n",), ()):
        result = run("apply", "data", "-o", "other", *SETTINGS, "--resume", "--json", *dry)
        assert result.code == 3
        assert [error["source"] for error in result.json["errors"]] == [
            "other/train/1.pt",
            "other/val/0.safetensors",
        ]


def test_statistics_of_many_files(run: Run, data: dict[str, torch.Tensor]) -> None:
    document = run("apply", "data", "-o", "out", *SETTINGS, "--json").json
    for suffix in ("json", "jsonl", "csv"):
        run("apply", "data", "-o", f"o-{suffix}", *SETTINGS, "--stats", f"s.{suffix}", "-q")
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert [line["tensors"] for line in lines] == [file["tensors"] for file in document["files"]]
    assert json.loads(Path("s.json").read_text())["settings"] == document["settings"]
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    dropped = sum(int(row["dropped"]) for row in rows)
    decisions = sum(int(row["decisions"]) for row in rows)
    shown = run("apply", "data", "-o", "out2", *SETTINGS).out
    assert f"{dropped} of {decisions} decisions" in shown
    assert f"rate     {dropped / decisions:.6f} (p " in shown


def test_lists_say_where_they_lead(run: Run, data: dict[str, torch.Tensor]) -> None:
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


def test_a_failure_is_told_once_for_all_copies(run: Run) -> None:
    sample("data/a.pt")
    Path("data/b.pt").write_bytes(b"")
    result = run("apply", "data", "-o", "out", "--copies", 3, "--json")
    assert (result.code, len(result.json["errors"]), len(result.json["files"])) == (3, 1, 3)


@pytest.mark.parametrize("option", ["--resume", "--fail-fast", "--copy-others"])
def test_what_one_file_has_no_use_for(run: Run, option: str) -> None:
    sample("a.safetensors")
    result = run("apply", "a.safetensors", "-o", "b.safetensors", option, "--json")
    assert (result.code, result.errors) == (2, ["one-file"])
    assert run("apply", "a.safetensors", "-o", "out/", option).code == 0


WRONG = {
    "data -o x.pt": ("not-a-folder", "'x.pt'"),
    "data -o -": ("several-on-stdout", "-o"),
    "data --in-place --copies 2": ("copies-in-place", "--copies"),
    "data --in-place --copy-others": ("others-in-place", "--copy-others"),
    "data -o o --keep-original": ("original-without-copies", "--keep-original"),
    "data -o o --concat": ("concat-without-copies", "--concat"),
    "data -o o -0": ("null", "--files-from"),
    "data data -o o --stream s": ("stream-of-several", "--stream"),
    "data -o o --stream s": ("stream-of-several", "--stream"),
    "data -o o --copies 0": ("bad-count", "'0'"),
    "data -o o -j -1": ("bad-count", "'-1'"),
    "data -o o -j two": ("bad-count", "'two'"),
    "data --in-place --resume": ("resume-without-seed", "--seed"),
    "data --in-place --resume --no-provenance": ("resume-without-provenance", "--resume"),
    "data/b.safetensors -o x.safetensors --copies 2": ("not-a-folder", "'x.safetensors'"),
    "data x --files-from l -o o": ("list-and-inputs", "--files-from"),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong(run: Run, data: dict[str, torch.Tensor], words: str) -> None:
    Path("l").write_text("b.safetensors\n")
    before = tree(".")
    code, named = WRONG[words]
    result = run("apply", *words.split(), "--json")
    assert (result.code, result.errors, tree(".")) == (2, [code], before)
    error, *_ = result.err.splitlines()
    assert error.startswith("error: ")
    assert named in error
