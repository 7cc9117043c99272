"""The journal, and runs that are resumed: nothing is lost or done twice."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.builders import journal, sample, tree
from tests.conftest import SETTINGS, Run, codes, shell


def test_a_line_for_each_finished_file(run: Run) -> None:
    sample("data/a/b.pt")
    document = run("apply", "data", "-o", "out", *SETTINGS, "--json").json
    (line,) = journal()
    (file,) = document["files"]
    status = os.stat("data/a/b.pt")
    assert (line["source_bytes"], line["source_mtime_ns"]) == (status.st_size, status.st_mtime_ns)
    assert line["output"] == "a/b.pt"
    assert line["tensors"] == file["tensors"]
    settings = line["settings"]
    assert isinstance(settings, dict)
    assert document["settings"].items() <= settings.items()


def test_an_existing_output_stops_the_run_before_it_begins(run: Run) -> None:
    for number in range(3):
        sample(f"data/{number}.pt", number)
    Path("out").mkdir()
    for name in ("1.pt", "2.pt"):
        Path("out", name).write_text("precious")
    result = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (result.code, result.errors) == (1, ["exists"])
    assert re.match(r"error: out/1\.pt: .*\b2\b.*\nhint: .*--resume.*--force", result.err)
    assert set(tree("out")) == {"1.pt", "2.pt"}

    resumed = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json", "-v")
    assert resumed.code == 3  # a file that no run of ours wrote is not replaced
    assert Path("out/1.pt").read_text() == "precious"
    assert resumed.errors == ["exists", "exists"]
    assert "error: out/1.pt: " in resumed.err
    forced = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--force")
    assert forced.code == 0
    assert "skipped  1 file, done before" in forced.out
    run("apply", "data", "-o", "whole", *SETTINGS)
    assert tree("out") == tree("whole")

    again = run("apply", "data", "-o", "out", *SETTINGS)  # the journal does not count as a file
    assert re.match(r"error: out/0\.pt: .*\b3\b", again.err)
    shutil.rmtree("whole")
    Path("out/dropcli.jsonl").rename("dropcli.jsonl")
    shutil.rmtree("out")
    Path("out").mkdir()
    Path("dropcli.jsonl").rename("out/dropcli.jsonl")
    last = run("apply", "data", "-o", "out", *SETTINGS, "--json")
    assert (last.errors, last.err.split(": ")[1]) == (["exists"], "out/dropcli.jsonl")


def test_an_interrupted_run_in_place_is_not_restarted(run: Run) -> None:
    for number in range(4):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "whole", *SETTINGS)
    whole = Path("data/2.pt").read_bytes()
    Path("data/2.pt").write_bytes(b"damaged")
    first = run("apply", "data", "--in-place", "-p", 0.3, "--seed", 7)
    assert first.code == 3
    before = tree("data")
    result = run("apply", "data", "--in-place", "-p", 0.3, "--json")
    assert (result.code, tree("data"), result.errors) == (1, before, ["interrupted-run"])
    Path("data/2.pt").write_bytes(whole)
    resumed = run("apply", "data", "--in-place", "-p", 0.3, "--resume", "--json")
    assert [file["status"] for file in resumed.json["files"]].count("skipped") == 3
    assert tree("data") == tree("whole")
    assert not Path("data/dropcli-in-place.jsonl").exists()
    assert all(
        tensor["dropped"] is not None for f in resumed.json["files"] for tensor in f["tensors"]
    )


def test_an_output_that_is_an_input_is_found(run: Run) -> None:
    sample("a/x.pt")
    sample("b/y.pt")
    before = tree(".")
    for more in ((), ("--force",), ("--resume",)):
        result = run("apply", "a/x.pt", "b/y.pt", "-o", "b", *more, "--json")
        assert (result.code, tree("."), result.errors) == (2, before, ["same-file"])
        assert "error: b/y.pt: " in result.err


def test_finished_work_is_not_read_again(run: Run) -> None:
    for number in range(3):
        sample(f"data/{number}.pt", number)
    first = run("apply", "data", "-o", "out", *SETTINGS, "--json").json
    for path in Path("data").iterdir():  # reading them would fail: the contents are not tensors now
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = {path: path.stat().st_ino for path in Path("out").glob("*.pt")}
    result = run("apply", "data", "-o", "out", "-p", 0.3, "--resume", "--json")
    assert result.code == 0
    again = result.json
    assert {path: path.stat().st_ino for path in Path("out").glob("*.pt")} == before
    assert [file.pop("status") for file in again["files"]] == ["skipped"] * 3
    assert [file.pop("status") for file in first["files"]] == ["written"] * 3
    assert again == first  # the seed is the journal's


@pytest.mark.parametrize("jobs", [1, 2])
def test_e14_changed_and_lost_files_are_done_again(run: Run, jobs: int) -> None:
    for number in range(5):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "out", *SETTINGS)
    sample("data/1.pt", 99)
    Path("out/2.pt").unlink()
    Path("out/3.pt").write_bytes(b"damaged")
    sample("data/5.pt", 5)
    result = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "-j", jobs)
    assert (result.code, "skipped  2 files, done before" in result.out) == (0, True)
    run("apply", "data", "-o", "whole", *SETTINGS)
    assert tree("out") == tree("whole")


def test_e13_other_settings_are_refused_and_named(run: Run) -> None:
    sample("data/0.pt")
    run("apply", "data", "-o", "out", *SETTINGS)
    before = tree(".")
    for options, difference in (
        (("-p", 0.4, "--seed", 7), "p 0.3 p 0.4"),
        (("-p", 0.3, "--seed", 8), "seed 7 seed 8"),
        ((*SETTINGS, "--no-rescale"), "rescale true rescale false"),
        ((*SETTINGS, "--no-provenance"), "provenance true provenance false"),
        ((*SETTINGS, "-k", "x"), 'key [] key ["x"]'),
    ):
        result = run("apply", "data", "-o", "out", *options, "--resume", "--json")
        assert (result.code, tree("."), result.errors) == (2, before, ["other-settings"])
        assert set(difference.split()) <= set(re.split(r"[\s,;]+", result.err))


def test_a_drawn_seed_is_in_the_journal_before_the_first_file(run: Run) -> None:
    for number in range(4):
        sample(f"data/{number}.pt", number)
    first = run("apply", "data", "-o", "out", "-p", 0.3, "--json").json
    whole = tree("out")
    path = Path("out/dropcli.jsonl")
    header, *_ = path.read_text().splitlines(keepends=True)
    path.write_text(header)  # as if killed before the first line was written
    Path("out/3.pt").unlink()
    resumed = run("apply", "data", "-o", "out", "-p", 0.3, "--resume", "--json")
    assert (resumed.code, tree("out")) == (0, whole)
    assert resumed.json["settings"] == first["settings"]


def test_other_names_copies_and_streams_are_not_mixed(run: Run) -> None:
    sample("data/x.safetensors")
    run("apply", "data", "-o", "out", *SETTINGS, "--copies", 2, "--concat")
    for more, values in ((("--copies", 5, "--concat"), "[1, 2, 3, 4, 5]"), ((), "null")):
        result = run("apply", "data", "-o", "out", *SETTINGS, *more, "--resume", "--json")
        assert (result.code, result.errors) == (2, ["other-settings"])
        assert all(f"concat {value}" in result.err for value in ("[1, 2]", values))

    run("apply", "data", "-o", "nine", *SETTINGS, "--copies", 9)
    result = run("apply", "data", "-o", "nine", *SETTINGS, "--copies", 10, "--resume", "--json")
    assert (result.code, result.errors) == (2, ["other-names"])
    assert all(f"'x.{number}.safetensors'" in result.err for number in ("1", "01"))
    assert len(tree("nine")) == 9
    words = ("apply", "data/x.safetensors", "-o", "named", *SETTINGS, "--copies", 1, "--stream")
    run(*words, "a")
    assert "written  1 file" in run(*words, "b", "--resume").out
    run("apply", "data/x.safetensors", "-o", "b", *SETTINGS, "--copies", 1, "--stream", "b")
    assert tree("named") == tree("b")


def test_another_dataset_of_equal_sizes_and_times_is_another(run: Run) -> None:
    for number, folder in enumerate("ab"):
        sample(f"{folder}/x.pt", number)
        os.utime(f"{folder}/x.pt", (0, 0))
    run("apply", "a", "-o", "out", *SETTINGS)
    run("apply", "b", "-o", "out", *SETTINGS, "--resume")
    run("apply", "b", "-o", "whole", *SETTINGS)
    assert tree("out") == tree("whole")


def test_resuming_in_place_with_other_settings_does_not_drop_twice(run: Run) -> None:
    sample("data/x.pt")
    run("apply", "data", "--in-place", *SETTINGS)
    before = tree("data")
    result = run("apply", "data", "--in-place", "-p", 0.4, "--seed", 7, "--resume", "--json")
    assert (result.code, tree("data"), result.errors) == (1, before, ["other-settings"])


@pytest.mark.parametrize(
    "change",
    ["del line['tensors']", "line['tensors'] = 5", "line['tensors'] = [{}]", "line['settings'] = 3",
     "line['settings'] = {}", "line['bytes'] = 'many'", "line['copy'] = None"],
)  # fmt: skip
def test_a_tampered_journal(run: Run, change: str) -> None:
    sample("data/x.pt")
    run("apply", "data", "-o", "out", *SETTINGS)
    whole = tree("out")
    (line,) = journal()
    exec(change, {"line": line})
    Path("out/dropcli.jsonl").write_text(json.dumps(line) + "\n")
    result = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert (result.code in (0, 1), tree("out")) == (True, whole)
    assert result.errors == (["damaged-journal"] if result.code else [])


def test_a_journal_that_is_no_file(run: Run) -> None:
    sample("data/x.pt")
    Path("out").mkdir()
    os.mkfifo("out/dropcli.jsonl")
    result = run("apply", "data", "-o", "out", "--resume", "--json")
    assert (result.code, result.errors) == (1, ["not-a-file"])


def test_the_journal_is_never_an_output(run: Run) -> None:
    sample("dropcli.safetensors")
    Path("dropcli.safetensors").rename("dropcli.jsonl")
    sample("x.safetensors")
    for words in ((), ("--force",)):
        result = run("apply", "dropcli.jsonl", "x.safetensors", "-o", "out", *words, "--json")
        assert (result.code, result.errors) == (2, ["collision"])
    result = run("apply", ".", "-o", "out", "--stats", "out/dropcli.jsonl", "--json")
    assert (result.code, result.errors) == (2, ["same-file"])
    assert run("apply", ".", "-o", "out", "--stats", "out/stats.csv").code == 0
    assert Path("out/stats.csv").exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"settings', 0), ("\n", 1), ("{}\n", 1), ("[" * 100_000 + "\n", 1), ('{"a":1e999}\n', 1)],
    ids=["torn", "empty line", "no entry", "deep", "infinite"],
)
def test_e13_a_damaged_journal(run: Run, text: str, code: int) -> None:
    for number in range(3):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "out", *SETTINGS)
    whole = tree("out")
    with open("out/dropcli.jsonl", "a") as file:
        file.write(text)
    result = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert (result.code, tree("out")) == (code, whole)
    assert result.errors == (["damaged-journal"] if code else [])
    if code:
        assert re.search(r"error: out/dropcli\.jsonl: .*\b4\b", result.err)
    else:
        assert len(journal()) == 3


def test_e13_two_runs_do_not_write_one_folder() -> None:
    sample("data/0.pt")
    done = shell(
        "exec 9>>out.lock; mkdir out; touch out/dropcli.jsonl; exec 8<out/dropcli.jsonl; flock 8;"
        " dropcli apply data -o out --seed 7 -p 0.3 --json"
    )
    assert (done.returncode, codes(done.stdout)) == (1, ["in-use"])
    assert done.stderr.startswith(b"error: out/dropcli.jsonl: ")
    assert not tree("out")
