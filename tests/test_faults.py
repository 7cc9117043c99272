"""A fault at each system call: files have the old bytes or the new ones, nothing else."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.builders import sample
from tests.conftest import Result, Run, redirected
from tests.faults import FAULTS, faults_below

SETTINGS = ("-p", 0.3, "--seed", 7, "-q")
_LINES = re.compile(r"(error: [^\n]+\n(hint: [^\n]+\n)?)+")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to start from, and one to work in, also for temporary files."""
    (tmp_path / "work/scratch").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work/scratch"))


def files() -> dict[str, bytes]:
    """All files except journals, which contain times."""
    paths = (path for path in Path().rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths if not path.name.startswith("dropcli")}


def begin_again() -> None:
    """Restore the state at the beginning of the test."""
    start = Path("../start")
    if not start.exists():
        shutil.copytree(".", start)
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(start, ".", dirs_exist_ok=True)


def _tells_of_failure(statistics: bytes | None) -> bool:
    return statistics is not None and json.loads(statistics)["status"] in ("partial", "error")


class Undisturbed:
    """The files after a command without faults."""

    def __init__(self, once: Callable[[int, int], tuple[Result, str]]) -> None:
        begin_again()
        self.old = files()
        self.result, _ = once(0, 0)
        assert self.result.code == 0, self.result.err
        self.new = files()

    def faults_of(self, result: Result, hit: str, codes: set[int], piped: str | None) -> list[str]:
        """Return what is wrong with the files and the messages after a fault."""
        there = files()
        wrong = []
        if result.code == 0 and (result, there) != (self.result, self.new):
            wrong.append("succeeded with other bytes, or words")
        if result.code not in {0, *codes}:
            wrong.append(f"exit code {result.code}")
        if result.code and not _LINES.fullmatch(result.err):
            wrong.append("not one line")
        if "Traceback" in result.err or "bug in" in result.err:
            wrong.append("a bug")
        left = [name for name in there if name.endswith(".tmp")]
        if left and hit not in ("unlink", "remove"):
            wrong.append("a temporary file is left")
        for name in {*self.old, *there} - {*left}:
            part = name == piped and self.new[name].startswith(there[name])
            if name.endswith(".json") and _tells_of_failure(there.get(name)):
                continue
            if there.get(name) not in (self.old.get(name), self.new.get(name)) and not part:
                wrong.append(f"{name} is neither old nor new")
        return wrong


def every_fault(
    run: Run,
    words: tuple[object, ...],
    codes: set[int],
    after: Callable[[dict[str, bytes]], str] = lambda new: "",
    piped: str | None = None,
    faults: Sequence[int] = FAULTS,
) -> None:
    """Run a command until it has failed at each of its calls, in each way.

    `codes` are the exit codes of a failure, `after` is to look further, `piped` is a file that
    holds standard output, of which a part may be there.
    """

    def once(number: int, error: int) -> tuple[Result, str]:
        begin_again()
        output = redirected(1, piped, _NEW_FILE) if piped else nullcontext()
        with output, faults_below(Path()) as seam:
            seam.arm(number, error)
            return run(*words), seam.hit

    expected = Undisturbed(once)
    wrong = []
    for error in faults:
        for number in count(1):
            opened = os.listdir("/proc/self/fd")
            result, hit = once(number, error)
            if not hit:
                assert (result, files()) == (expected.result, expected.new)
                break
            found = expected.faults_of(result, hit, codes, piped)
            if len(os.listdir("/proc/self/fd")) != len(opened):
                found.append("a file is left open")
            if more := after(expected.new):
                found.append(more)
            wrong += [
                f"call {number}, {hit}: {os.strerror(error)}: {what}: {result}" for what in found
            ]
        assert number > 5
    assert not wrong, "\n".join(wrong)


def torch_file(path: str, **options: bool) -> None:
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    torch.save({"x": x, "label": torch.arange(4)}, path, **options)


KINDS = ["x.safetensors", "x.pt", "old.pt"]


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "old.pt":
        torch_file(name, _use_new_zipfile_serialization=False)
    else:
        sample(name)
    return name


def test_a_new_output(run: Run, source: str) -> None:
    every_fault(run, ("apply", source, "-o", f"new-{source}", *SETTINGS), {1})


def test_an_output_in_place_of_an_old_one(run: Run, source: str) -> None:
    Path(f"new-{source}").write_bytes(b"precious" * 1000)  # longer than the new one
    every_fault(run, ("apply", source, "-fo", f"new-{source}", *SETTINGS), {1})


def test_in_place(run: Run, source: str) -> None:
    every_fault(run, ("apply", source, "--in-place", *SETTINGS), {1})


def test_standard_output(run: Run, source: str) -> None:
    words = ("apply", source, "-o", "-", *SETTINGS)
    every_fault(run, words, {1}, piped="piped")


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_statistics(run: Run, suffix: str) -> None:
    sample("x.safetensors")
    words = ("apply", "x.safetensors", "-o", "y.safetensors", "--stats", f"s.{suffix}", *SETTINGS)
    every_fault(run, words, {1})


def test_info(run: Run, source: str) -> None:
    every_fault(run, ("info", source), {1})


def test_verify(run: Run, source: str) -> None:
    run("apply", source, "-o", f"new-{source}", *SETTINGS)
    every_fault(run, ("verify", f"new-{source}", "--source", source), {1})


FOLDERS = [
    ("data", "-o", "out", "--seed", 7),
    ("data", "-o", "out"),  # the seed that is drawn is in the journal
    ("data", "-o", "out", "--seed", 7, "--copies", 2, "--keep-original", "--copy-others"),
    ("data", "--in-place", "--seed", 7),
]


# One kind of fault in ordinary tests: kinds differ little here, and a folder has many calls.
KINDS_OF_FAULTS = [FAULTS[:1], pytest.param(FAULTS[1:], marks=pytest.mark.slow)]


@pytest.mark.parametrize("faults", KINDS_OF_FAULTS, ids=str)
@pytest.mark.parametrize("words", FOLDERS, ids=str)
def test_a_folder_and_its_journal(
    run: Run, words: tuple[object, ...], faults: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each fault the run is resumed, and gives the same bytes."""
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count))
    sample("data/0.safetensors")
    sample("data/a/1.pt")
    Path("data/notes.txt").write_text("notes")
    command = ("apply", *words, "-p", 0.3, "-q", "-j", 1)

    def resume(new: dict[str, bytes]) -> str:
        result = run(*command, "--resume")
        there = {name: data for name, data in files().items() if not name.endswith(".tmp")}
        return "" if (result, there) == (Result(0, "", ""), new) else f"resumed: {result}"

    every_fault(run, command, {1, 3}, resume, faults=faults)


@pytest.mark.parametrize("faults", KINDS_OF_FAULTS, ids=str)
def test_a_folder_that_is_resumed(run: Run, faults: list[int]) -> None:
    sample("data/0.safetensors")
    sample("data/a/1.pt")
    command = ("apply", "data", "-o", "out", *SETTINGS, "-j", 1)
    run(*command)
    Path("out/a/1.pt").unlink()
    every_fault(run, (*command, "--resume"), {1, 3}, faults=faults)


@pytest.mark.parametrize("faults", KINDS_OF_FAULTS, ids=str)
def test_statistics_of_a_folder(run: Run, faults: list[int]) -> None:
    sample("data/0.safetensors")
    words = ("apply", "data", "-o", "out", "--stats", "s.json", *SETTINGS, "-j", 1)
    every_fault(run, words, {1, 3}, faults=faults)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_short_reads_and_writes(run: Run, name: str) -> None:
    """All reads and writes return after a few bytes."""
    sample(f"data/{name}")
    for words in (
        (f"data/{name}", "-o", "out.pt"),
        ("data", "-o", "out"),
        ("data", "-o", "out", "--resume"),
        ("data", "--in-place"),
    ):
        begin_again()
        whole = run("apply", *words, *SETTINGS)
        expected = files()
        begin_again()
        with faults_below(Path()) as faults:
            faults.shorten = True
            assert run("apply", *words, *SETTINGS) == whole
        assert files() == expected
        assert (whole.code, faults.count > 100) == (0, True)
