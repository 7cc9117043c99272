"""--engine dask on real clusters of two processes, and `executor=` on others.

A long loop: `pytest -m slow tests/test_cluster.py --rounds 100 -s`.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file

import dropcli
from dropcli.parallel import Pool, choose_engine
from tests.builders import journal, sample, tree
from tests.conftest import COMMAND, SETTINGS, WORDS, Run, codes, held_at, shell, wait_for
from tests.dask_cluster import Cluster, cluster
from tests.refusal import Refuse

SPAWN = multiprocessing.get_context("spawn")

needs_dask = pytest.mark.skipif(
    shell(f"{sys.executable} -c 'import distributed'").returncode != 0,
    reason="needs distributed: pip install -c tests/constraints.txt -e '.[dask]'",
)


@pytest.fixture(scope="module")
def dask() -> Iterator[Cluster]:
    """A cluster that the tests of this module share."""
    with cluster() as made:
        yield made


@pytest.fixture
def many(run: Run) -> dict[str, bytes]:
    """120 files; returns the outputs of one process, which are in `whole`."""
    for number in range(120):
        sample(f"data/{number % 7}/{number:03}.{'pt' if number % 3 else 'safetensors'}", number)
    assert run("apply", "data", "-o", "whole", *SETTINGS, "-q", "-j", 1).code == 0
    return tree("whole")


def start(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*COMMAND, *words], stdout=-1, stderr=-1)


def on(made: Cluster) -> list[str]:
    return ["--engine", "dask", "--scheduler", made.address]


def same_reports(one: Any, two: Any) -> bool:
    """Whether two documents are equal, apart from the names of the output folders."""
    return re.sub(r"one|two", "out", json.dumps(one)) == re.sub(r"one|two", "out", json.dumps(two))


def errors_of(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith(("error: ", "hint: "))]


@needs_dask
@pytest.mark.parametrize(
    "words", [("data",), ("data", "--copies", "2"), ("data", "--copy-others"), ("x.safetensors",
    "y.safetensors", "--copies", "2", "--concat"), ("data", "--mode", "sample", "-k", "x")], ids=str
)  # fmt: skip
def test_the_same_bytes_and_report_as_one_process(
    dask: Cluster, run: Run, words: tuple[str, ...]
) -> None:
    for number in range(12):
        sample(f"data/{number % 3}/{number:03}.{'pt' if number % 3 else 'safetensors'}", number)
    Path("data/damaged.pt").write_bytes(b"no")
    Path("data/readme.txt").write_text("hello")
    for name in ("x", "y"):
        save_file({"x": torch.rand(4, 5)}, f"{name}.safetensors")
    one = run("apply", *words, "-o", "one", *SETTINGS, "--json", "-j", 1)
    two = run("apply", *words, "-o", "two", *SETTINGS, "--json", *on(dask))
    assert one.code == two.code == (3 if words[0] == "data" else 0)
    assert errors_of(one.err) == errors_of(two.err)
    assert tree("one") == tree("two")
    assert same_reports(one.json, two.json)


@needs_dask
def test_in_place_and_resumed(dask: Cluster, many: dict[str, bytes], run: Run) -> None:
    words = ("apply", "data", "--in-place", *SETTINGS, "-q", *on(dask))
    assert run(*words).code == 0
    assert tree("data") == many
    assert run(*words, "--resume").code == 0
    assert tree("data") == many
    os.environ["DASK_SCHEDULER_ADDRESS"] = dask.address
    try:
        again = run("apply", "whole", "-o", "out", *SETTINGS, "-q", "--engine", "dask")
    finally:
        del os.environ["DASK_SCHEDULER_ADDRESS"]
    assert (again.code, len(tree("out"))) == (0, 120)


class Script:
    """Calls `dropcli.apply` with an executor, in a separate process."""

    DASK = """
from distributed import Client
import dropcli, sys
client = Client(sys.argv[1], set_as_default=False)
report = dropcli.apply("data", "two", p=0.3, seed=7, executor=client.get_executor(pure=False))
print(report.to_json())
client.close()
"""


@needs_dask
def test_the_executor_of_a_dask_client(dask: Cluster, many: dict[str, bytes]) -> None:
    Path("script.py").write_text(Script.DASK)
    done = shell(f"python script.py {dask.address}")
    assert done.returncode == 0, done.stderr
    one = dropcli.apply("data", "one", p=0.3, seed=7, jobs=1)
    assert same_reports(json.loads(one.to_json()), json.loads(done.stdout))
    assert tree("two") == many


def test_worker_processes_that_are_spawned(many: dict[str, bytes]) -> None:
    one = dropcli.apply("data", "one", p=0.3, seed=7, jobs=1)
    with ProcessPoolExecutor(2, SPAWN) as executor:
        two = dropcli.apply("data", "two", p=0.3, seed=7, executor=executor)
    assert same_reports(json.loads(one.to_json()), json.loads(two.to_json()))
    assert tree("two") == many


def test_progress_of_an_executor_does_not_wait_for_hundreds_of_files() -> None:
    """Results come by chunk, and on a slow disk a chunk takes seconds."""
    for number in range(600):
        sample(f"data/{number}.safetensors", number)
    with ThreadPoolExecutor(1) as executor:
        submit = Mock(wraps=executor.submit)
        executor.submit = submit  # type: ignore[method-assign]
        dropcli.apply("data", "out", p=0.3, seed=7, executor=executor)
    assert submit.call_count >= 600 / 64


def test_an_executor_whose_worker_died_is_one_error(many: dict[str, bytes]) -> None:
    with ProcessPoolExecutor(1, SPAWN) as executor:
        executor.submit(os._exit, 1).exception()
        with pytest.raises(dropcli.DropcliError) as caught:
            dropcli.apply("data", "out", p=0.3, seed=7, executor=executor)
    assert caught.value.code == "executor-lost"
    dropcli.apply("data", "out", p=0.3, seed=7, resume=True)
    assert tree("out") == many


class Counting(Executor):
    """Runs one call at a time, when its result is needed; counts the pending calls."""

    def __init__(self) -> None:
        self._max_workers = 3
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        self.most = max(self.most, len(self.held))
        if len(self.held) == 2 * self._max_workers:
            self._finish()
        return future

    def _finish(self) -> None:
        for future, work in self.held:
            future.set_result(work())
        self.held = []


def stub(
    tasks: Sequence[int], on_bytes: Callable[[int], None]
) -> tuple[Sequence[int], dropcli.errors.Interrupted | None]:
    on_bytes(len(tasks))
    return tasks, None


def test_a_million_tasks_are_not_all_submitted() -> None:
    executor, taken = Counting(), 0
    engine = choose_engine(stub, [1], None, Pool(executor))

    def chunks() -> Iterator[list[int]]:
        nonlocal taken
        for number in range(0, 999_936, 128):
            taken += 1
            yield list(range(number, number + 128))

    done = nbytes = ahead = 0

    def count(more: int) -> None:
        nonlocal nbytes
        nbytes += more

    for _task, result in engine.run(chunks(), count):
        done += result is not None
        ahead = max(ahead, taken - done // 128)
    assert done == nbytes == 999_936
    assert executor.most <= 6
    assert ahead <= 12


@pytest.fixture
def held() -> Iterator[Cluster]:
    """A cluster that waits at the last of 30 files of 4 MiB."""
    for index in range(30):
        save_file({"x": torch.rand(1 << 20)}, f"data{index:02}.safetensors")
    with cluster(path=held_at("data29.safetensors")["PYTHONPATH"]) as made:
        yield made


def some_are_done() -> bool:
    return len(list(Path("out").glob("*.safetensors"))) > 2


@needs_dask
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_ends_the_run_and_reports_the_state(held: Cluster, number: int) -> None:
    files = sorted(map(str, Path().glob("*.safetensors")))
    process = start(*files, "-o", "out/", *WORDS, "-q", *on(held))
    assert wait_for(some_are_done)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    message, hint = errors.decode().splitlines()
    found = re.fullmatch(
        r"interrupted; workers of the cluster may still write up to (\d+) files; "
        r"(\d+) of 30 files are done",
        message,
    )
    assert found, message
    assert int(found[2]) == len(journal())
    Path("go").touch()
    resumed = shell(hint.removeprefix("hint: continue with: "))
    assert resumed.returncode == 0, resumed.stderr
    shell(f"dropcli apply {' '.join(files)} -o whole/ {' '.join(WORDS)} -q")
    assert wait_for(lambda: tree("out") == tree("whole"))  # workers may still write a file


@needs_dask
def test_a_lost_scheduler_is_one_line_with_a_hint(held: Cluster) -> None:
    process = start("*.safetensors", "-o", "out", *WORDS, "--json", *on(held))
    assert wait_for(some_are_done)
    held.kill()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, codes(output)) == (1, ["scheduler-lost"])
    error, hint = errors.decode().splitlines()
    assert error.startswith("error: ")
    assert "--resume" in hint
    assert (
        shell(f"dropcli apply '*.safetensors' -o out {' '.join(WORDS)} -q --resume").returncode == 0
    )
    assert len(journal()) == 30


@needs_dask
def test_a_file_that_kills_its_worker_fails_alone(run: Run) -> None:
    for number in range(9):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "whole", *SETTINGS, "-j", 1)
    Path("sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def kill(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('data/3.pt'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(kill)\n"
    )
    with cluster(path=os.getcwd(), SCHEDULER__ALLOWED_FAILURES=0) as made:
        done = shell(f"dropcli apply data -o out {' '.join([*WORDS, *on(made)])} --json")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert [(error["source"], error["code"]) for error in document["errors"]] == [
        ("data/3.pt", "worker-died")
    ]
    whole = tree("whole")
    assert tree("out") == {name: whole[name] for name in whole if name != "3.pt"}


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name == "dropcli":
            raise ModuleNotFoundError("No module named 'dropcli'", name="dropcli")
sys.meta_path.insert(0, Without())
"""
OTHER_VERSION = """
import sys, types
sys.modules["dropcli.__version__"] = types.ModuleType("dropcli.__version__")
sys.modules["dropcli.__version__"].__version__ = "0.0.1"
"""


@needs_dask
@pytest.mark.parametrize(
    ("code", "customize"),
    [("no-dropcli", WITHOUT), ("other-version", OTHER_VERSION)],
    ids=["none", "other"],
)
def test_workers_with_another_version_are_refused_and_not_killed(code: str, customize: str) -> None:
    sample("data/a.pt")
    Path("other").mkdir()
    Path("other/sitecustomize.py").write_text(customize)
    with cluster(1, path=os.path.abspath("other")) as made:
        before = made.workers()
        done = shell(f"dropcli apply data -o out {' '.join([*WORDS, *on(made)])} --json")
        assert (done.returncode, codes(done.stdout)) == (1, [code])
        assert not Path("out").exists()
        time.sleep(1)
        assert made.workers() == before
        assert len(before) == 1


@needs_dask
def test_addresses_without_a_scheduler() -> None:
    sample("data/a.pt")
    Path("empty").touch()
    Path("dead").write_text('{"address": "tcp://127.0.0.1:9"}')
    wrong = (
        "nonsense",
        "nonsense://x",
        "tcp://127.0.0.1",
        "tls://127.0.0.1:9",
        "empty",
        "data/a.pt",
    )
    for address in ("tcp://127.0.0.1:9", "dead", *wrong):
        words = f"data -o out {' '.join(WORDS)} --json --engine dask --scheduler {address}"
        patience = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
        done = shell(f"dropcli apply {words}", **patience)
        assert (done.returncode, codes(done.stdout)) == (1, ["no-scheduler"]), done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert not Path("out").exists()


def test_options_that_exclude_the_engine(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    sample("data/a.pt")
    words = ["apply", "data", "-o", "out", *SETTINGS]
    for more, code in (
        (["--engine", "dask"], "no-address"),
        (["--engine", "dask", "--scheduler", "tcp://x:1", "-j", 2], "jobs-and-engine"),
        (["--scheduler", "tcp://x:1"], "scheduler-without-engine"),
        (["--engine", "ray"], "bad-engine"),
    ):
        assert refuse(*words, *more, exit_code=2).code == code
    single = ["apply", "data/a.pt", "-o", "b.pt", "--engine", "dask", "--scheduler", "tcp://x:1"]
    assert refuse(*single, exit_code=2).code == "one-file"


class Kills:
    """Runs on clusters in which something dies at a random moment, each then resumed."""

    def __init__(self, whole: dict[str, bytes], seed: int) -> None:
        self._whole = whole
        self._numbers = random.Random(seed)
        self.dead = 0
        self._latest = 0.5  # seconds after the start
        self._cluster = Cluster()

    def round(self) -> None:
        shutil.rmtree("out", ignore_errors=True)
        more: list[str] = []
        for victim in (self._numbers.choice(("worker", "client", "scheduler")), "none"):
            process = start("data", "-o", "out", *WORDS, "-q", *more, *on(self._cluster))
            if victim != "none":
                assert wait_for(lambda: os.path.exists("out"))
                time.sleep(self._numbers.uniform(0, self._latest))
                self._kill(victim, process)
            _, errors = process.communicate(timeout=150)
            assert b"Traceback" not in errors, errors.decode()
            more = ["--resume"]
        assert process.returncode == 0, errors.decode()
        # Workers may finish files of a killed client after the next client has ended.
        assert wait_for(lambda: tree("out") == self._whole)
        assert {line["output"] for line in journal()} == set(self._whole)

    def _kill(self, victim: str, client: "subprocess.Popen[bytes]") -> None:
        if client.poll() is None:
            self.dead += 1
        else:
            self._latest /= 2  # this machine is faster
        if victim == "client":
            client.kill()
        elif victim == "scheduler":
            self._cluster.kill()
            client.wait(20)
            self._cluster.close()
            self._cluster = Cluster()
        elif workers := self._cluster.workers():
            os.kill(self._numbers.choice(workers), signal.SIGKILL)

    def close(self) -> None:
        self._cluster.close()


def kill_and_resume(rounds: int, whole: dict[str, bytes]) -> int:
    kills = Kills(whole, seed=rounds)
    try:
        for number in range(rounds + 10):
            if number < rounds or not kills.dead:
                kills.round()
    finally:
        kills.close()
    return kills.dead


@needs_dask
def test_kill_and_resume(many: dict[str, bytes]) -> None:
    assert kill_and_resume(3, many)


@needs_dask
@pytest.mark.slow
def test_kill_and_resume_many_times(
    request: pytest.FixtureRequest, many: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: int = request.config.getoption("--rounds")
    started = time.monotonic()
    dead = kill_and_resume(rounds, many)
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(f"\n{rounds:,} rounds, {dead:,} killed at work, {seconds:,.0f} seconds, no byte lost")


@needs_dask
@pytest.mark.parametrize("wait", ["2s", pytest.param("60s", marks=pytest.mark.slow)])
def test_a_cluster_without_workers_is_one_error(wait: str) -> None:
    sample("data/a.pt")
    with cluster(workers=0) as made:
        words = f"data -o out {' '.join([*WORDS, *on(made)])} --json"
        done = shell(f"dropcli apply {words}", DASK_DROPCLI__WAIT=wait)
    assert (done.returncode, codes(done.stdout)) == (1, ["no-workers"])
    assert len(done.stderr.splitlines()) == 2
    assert not Path("out").exists()
