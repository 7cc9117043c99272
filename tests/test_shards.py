"""--shard: independent runs, and one that gathers their results."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import dropcli
from tests.builders import labelled, sample
from tests.conftest import COMMAND, SETTINGS, WORDS, Run, codes, held_at, shell, wait_for
from tests.refusal import Refuse

SHARDS = 4


@pytest.fixture
def many(run: Run) -> dict[str, bytes]:
    """60 files; returns the outputs of one run, which are in `whole`."""
    for number in range(60):
        sample(f"data/{number % 3}/{number:02}.{'pt' if number % 2 else 'safetensors'}", number)
    assert run("apply", "data", "-o", "whole", *SETTINGS, "-q", "-j", 1).code == 0
    return outputs("whole")


def outputs(folder: str) -> dict[str, bytes]:
    """All files below a folder, without journals."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.suffix != ".jsonl"
    }


def shard(number: int, *words: object, out: str = "out", of: int = SHARDS) -> list[str]:
    """The command line for one shard."""
    target = ["--in-place"] if out == "" else ["-o", out]
    return ["data", *target, *WORDS, "-q", "--shard", f"{number}/{of}", *map(str, words)]


def start(words: list[str], **variables: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **variables}
    return subprocess.Popen([*COMMAND, *words], stdout=-1, stderr=-1, env=environment)


def more_files() -> None:
    """Up to 400."""
    for number in range(60, 400):
        shutil.copy("data/0/00.safetensors", f"data/{number}.safetensors")


def last_of(number: int) -> str:
    """The last of these that belongs to a shard."""
    names = sorted(path.name for path in Path("data").glob("*.safetensors"))
    shards = [int.from_bytes(hashlib.sha256(name.encode()).digest()) % SHARDS for name in names]
    last = max(at for at, shard in enumerate(shards) if shard == number - 1)
    return f"data/{names[last]}"


def totals(document: Any) -> list[Any]:
    """The totals of a report, which do not depend on whether files are written or skipped."""
    return [{**file, "status": "", "output": ""} for file in document["files"]]


names = st.text(
    # torch.save refuses a backslash.
    st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
).map(lambda name: f"x{name}.pt")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(names, min_size=1, max_size=12), names, st.integers(1, 5))
def test_shards_are_disjoint_complete_and_stable(
    run: Run, some: set[str], added: str, total: int
) -> None:
    def owners() -> dict[str, int]:
        """The shard of each file; a file that is in none or in two is an error."""
        found: dict[str, int] = {}
        for number in range(1, total + 1):
            words = ("-o", "out", *SETTINGS, "-n", "--json", "--shard", f"{number}/{total}")
            result = run("apply", "data", *words)
            assert result.code == 0, result.err
            for file in result.json["files"]:
                assert found.setdefault(os.path.basename(file["source"]), number) == number
        return found

    shutil.rmtree("data", ignore_errors=True)
    for name in some:
        sample(f"data/{name}")
    before = owners()
    assert set(before) == some
    for name, number in before.items():  # by the formula of the guide
        digest = hashlib.sha256(name.encode()).digest()
        assert number == int.from_bytes(digest) % total + 1
    sample(f"data/{added}")
    assert owners() | before == owners()


def test_concurrent_shards_make_the_files_of_one_run(many: dict[str, bytes], run: Run) -> None:
    processes = [start(shard(number)) for number in range(1, SHARDS + 1)]
    assert [(process.communicate(), process.returncode) for process in processes] == [
        ((b"", b""), 0)
    ] * SHARDS
    assert outputs("out") == many
    assert len(list(Path("out").glob("dropcli.*-of-4.jsonl"))) == SHARDS
    gathered = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert gathered.code == 0
    assert {file["status"] for file in gathered.json["files"]} == {"skipped"}
    whole = run("apply", "data", "-o", "whole", *SETTINGS, "--resume", "--json")
    assert totals(gathered.json) == totals(whole.json)
    assert gathered.json["settings"] == whole.json["settings"]
    assert run("verify", "out", "--source", "data").code == 0


def test_a_killed_shard_is_gathered(many: dict[str, bytes], run: Run) -> None:
    more_files()
    run("apply", "data", "-o", "other", *SETTINGS, "-q")
    held = held_at(last_of(2))
    # The fourth never starts.
    processes = [start(shard(number, "-j", 1), **held) for number in (1, 2, 3)]
    assert wait_for(lambda: len(list(Path("out").glob("*.safetensors"))) > 20)
    processes[1].send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0]
    # Resumed with another number of shards and a new file, then gathered.
    sample("data/new.pt", 1)
    assert shell(" ".join(["dropcli apply", *shard(2, "--resume", of=7)])).returncode == 0
    gathered = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert gathered.code == 0
    assert len(gathered.json["files"]) == 401
    made = outputs("out")
    assert made.pop("new.pt")
    assert made == outputs("other")


def test_shards_in_place(many: dict[str, bytes], run: Run, refuse: Refuse) -> None:
    whole = run("apply", "data", "-o", "whole", *SETTINGS, "--resume", "--json")
    for number in range(1, SHARDS):
        assert run("apply", *shard(number, out="")).code == 0
    # Files are not dropped twice: by the same shard, other shards, or a run over all files.
    for words in (shard(1, out=""), shard(1, out="", of=3), ["data", "--in-place", *WORDS]):
        assert refuse("apply", *words).code == "interrupted-run"
    gathered = run("apply", "data", "--in-place", *SETTINGS, "--resume", "--json")
    assert gathered.code == 0
    assert outputs("data") == many
    assert totals(gathered.json) == totals(whole.json)
    assert not list(Path("data").glob("*.jsonl"))


def test_an_empty_shard_is_done_at_once(run: Run) -> None:
    sample("data/a.pt")
    done = [run("apply", *shard(number, of=9)) for number in range(1, 10)]
    assert {(each.code, each.err) for each in done} == {(0, "")}
    assert list(outputs("out")) == ["a.pt"]


def test_a_shard_without_selected_tensors_leaves_the_error_to_the_gathering_run(
    run: Run,
) -> None:
    for number in range(6):
        save_file({"label": torch.ones(5)}, f"data{number}.safetensors")
    Path("data").mkdir()
    for path in Path().glob("data?.safetensors"):
        path.rename(Path("data", path.name))
    assert {run("apply", *shard(number)).code for number in range(1, SHARDS + 1)} == {0}
    gathered = run("apply", "data", "-o", "out", *SETTINGS, "--resume", "--json")
    assert (gathered.code, gathered.errors) == (1, ["nothing-selected"])
    labelled("data/one.safetensors")
    assert run("apply", "data", "-o", "out", *SETTINGS, "--resume", "-q").code == 0


@pytest.mark.parametrize(
    "text", ["0/8", "9/8", "a/b", "8", "/", "", "1/0", "-1/8", "1/8/2", "1.0/8"]
)
def test_a_wrong_shard_is_one_error(refuse: Refuse, text: str) -> None:
    sample("data/a.pt")
    words = ["data", "-o", "out", *WORDS, f"--shard={text}"]
    assert refuse("apply", *words, exit_code=2).code == "bad-shard"
    with pytest.raises(dropcli.DropcliError) as caught:
        dropcli.apply("data", "out", seed=7, shard=text)
    assert caught.value.code == "bad-shard"


def test_options_that_exclude_a_shard(refuse: Refuse) -> None:
    sample("data/a.pt")
    words = ["apply", "data", "-o", "out", "--shard", "1/8"]
    assert refuse(*words, exit_code=2).code == "shard-without-seed"
    words = ["apply", "data/a.pt", "-o", "b.pt", "--seed", "7", "--shard", "1/8"]
    assert refuse(*words, exit_code=2).code == "one-file"


def test_other_settings_are_refused_by_name(many: dict[str, bytes], run: Run) -> None:
    assert run("apply", *shard(1)).code == 0
    words = ("apply", "data", "-o", "out", "-p", 0.4, "--seed", 7, "--json")
    for more in (("--resume",), ("--resume", "--shard", "2/4")):
        result = run(*words, *more)
        assert (result.code, result.errors) == (2, ["other-settings"])
        assert result.err.startswith("error: out/dropcli.1-of-4.jsonl: ")
    # A run that replaces everything removes the journals of the shards.
    assert run(*words, "--force").code == 0
    assert [path.name for path in Path("out").glob("*.jsonl")] == ["dropcli.jsonl"]
    # So do shards with other settings.
    assert run("apply", *shard(1, "--force")).code == 0
    assert [path.name for path in Path("out").glob("*.jsonl")] == ["dropcli.1-of-4.jsonl"]


def test_runs_and_shards_do_not_wait_for_each_other(many: dict[str, bytes]) -> None:
    more_files()
    process = start(shard(1, "-j", 1), **held_at(last_of(1)))
    assert wait_for(lambda: len(list(Path("out").glob("*.safetensors"))) > 5)
    process.send_signal(signal.SIGSTOP)
    done = shell(f"dropcli apply data -o out {' '.join(WORDS)} --resume --json")
    assert (done.returncode, codes(done.stdout)) == (1, ["in-use"])
    assert json.loads(done.stdout)["errors"][0]["source"] == "out/dropcli.1-of-4.jsonl"
    process.send_signal(signal.SIGCONT)
    Path("go").touch()
    assert process.communicate() == (b"", b"")


def test_shards_of_a_list_never_replace_an_input(run: Run) -> None:
    """With --force, where an output of one shard is an input of another."""
    sample("x.pt", 1)
    sample("out/x.pt", 2)
    before = Path("out/x.pt").read_bytes()
    Path("list").write_text("x.pt\nout/x.pt\n")
    for number in range(1, 9):
        words = ("-o", "out", *SETTINGS, "--force", "--shard", f"{number}/8", "--json")
        result = run("apply", "--files-from", "list", *words)
        assert Path("out/x.pt").read_bytes() == before
        assert result.code == 0 or result.errors == ["same-file"]
