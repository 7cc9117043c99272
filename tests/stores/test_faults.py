"""What goes wrong on the way to a store: the object is the old one or the new one, never half."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders import sample
from tests.conftest import COMMAND, SETTINGS, WORDS, Run, wait_for
from tests.stores.conftest import Faulty, Store, large
from tests.stores.proxy import Delay, Fault


def error(code: str, more: str = "") -> str:
    """A store's error document."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message>{more}</Error>"


@pytest.mark.parametrize(
    ("method", "fault", "code"),
    [
        ("GET", Fault(403, error("AccessDenied")), "forbidden"),
        ("PUT", Fault(403, error("AccessDenied")), "forbidden"),
        ("GET", Fault(301, error("PermanentRedirect", "<Region>x-1</Region>")), "wrong-region"),
        ("PUT", Fault(400, error("BadDigest")), "checksum"),
        ("PUT", Fault(404, error("NoSuchBucket")), "no-bucket"),
        pytest.param("PUT", Fault(503, error("SlowDown")), "slow-down", marks=pytest.mark.slow),
        pytest.param("GET", Fault(500, error("Internal")), "store-error", marks=pytest.mark.slow),
        pytest.param("GET", Fault(after=1000), "cut-off", marks=pytest.mark.slow),
        pytest.param("PUT", Fault(cut_request=True), "cut-off", marks=pytest.mark.slow),
    ],
)
def test_a_fault_that_stays_is_one_error(
    run: Run, store: Store, faulty: Faulty, method: str, fault: Fault, code: str
) -> None:
    sample("x.pt")
    url = store.put("x.pt", Path("x.pt").read_bytes())
    store.put("y.pt", b"old")
    faulty(lambda asked, path: fault if asked == method and "list-type" not in path else None)
    started = time.monotonic()
    result = run("apply", url, "-o", f"{store.url}/y.pt", *SETTINGS, "-f", "--json")
    assert time.monotonic() - started < 60  # far above the bound of the guide
    assert (result.code, result.errors) == (1, [code])
    assert len(result.err.splitlines()) <= 2
    assert store.get("y.pt") == b"old"


@pytest.mark.parametrize(
    "fault",
    [Fault(503, error("SlowDown")), Fault(500, error("Internal")), Fault(cut_request=True)],
)
def test_a_fault_that_passes_is_not_seen(
    run: Run, store: Store, faulty: Faulty, fault: Fault
) -> None:
    sample("x.pt")
    url = store.put("x.pt", Path("x.pt").read_bytes())
    hits: set[str] = set()

    def first(method: str, path: str) -> Fault | None:
        if method in hits or "list-type" in path:
            return None
        hits.add(method)
        return fault

    faulty(first)
    assert run("apply", url, "-o", f"{store.url}/y.pt", *SETTINGS, "-q").code == 0
    assert {"GET", "PUT"} <= hits
    assert run("apply", "x.pt", "-o", "y.pt", *SETTINGS, "-q").code == 0
    assert store.get("y.pt") == Path("y.pt").read_bytes()


@pytest.mark.parametrize("force", [(), ("-f",)])
def test_an_answer_that_is_lost_is_no_error(
    run: Run, store: Store, faulty: Faulty, force: tuple[str, ...]
) -> None:
    """The object is there, so that trying again finds it."""
    sample("x.pt")
    lost: list[str] = []

    def first(method: str, path: str) -> Fault | None:
        if method != "PUT" or lost:
            return None
        lost.append(path)
        return Fault(lost=True)

    faulty(first)
    assert run("apply", "x.pt", "-o", f"{store.url}/y.pt", *SETTINGS, *force, "-q").code == 0
    assert lost
    assert run("apply", "x.pt", "-o", "y.pt", *SETTINGS, "-q").code == 0
    assert store.get("y.pt") == Path("y.pt").read_bytes()


@pytest.mark.parametrize("step", ["partNumber=3", "uploadId"])
def test_an_upload_that_fails_is_aborted(run: Run, store: Store, faulty: Faulty, step: str) -> None:
    store.put("y.safetensors", b"old")
    large("x.safetensors", 65)
    method = "PUT" if "part" in step else "POST"

    def refused(asked: str, path: str) -> Fault | None:
        return Fault(403, error("AccessDenied")) if asked == method and step in path else None

    faulty(refused)
    words = ("-o", f"{store.url}/y.safetensors", *SETTINGS, "-f", "--json")
    result = run("apply", "x.safetensors", *words)
    assert (result.code, result.errors) == (1, ["forbidden"])
    assert store.get("y.safetensors") == b"old"
    assert not store.uploads()


def test_an_object_that_changes_while_it_is_read(run: Run, store: Store, faulty: Faulty) -> None:
    data = large("x.safetensors", 20)
    url = store.put("x.safetensors", data)
    asked: list[str] = []

    def change(method: str, path: str) -> Fault | None:
        asked.append(method)
        if asked.count("GET") == 2:
            store.put("x.safetensors", data[:-1] + b"\0")
        return None

    faulty(change)
    result = run("apply", url, "-o", "y.safetensors", *SETTINGS, "--json")
    assert (result.code, result.errors) == (1, ["changed-while-read"])
    assert os.listdir() == ["x.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_upload(store: Store, server: str, number: int) -> None:
    large("x.safetensors", 80)
    delay = Delay(int(server.partition(":")[2]), 0.03)
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{delay.port}"}
    command = [*COMMAND, "x.safetensors", "-o", f"{store.url}/y.safetensors", *WORDS, "-q"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert wait_for(store.uploads)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not store.keys()


def test_killed_and_resumed(run: Run, store: Store) -> None:
    for number in range(120):
        sample(f"in/{number:03}.pt", number)
    url = store.put_folder("in")
    words = ("apply", url, "-o", f"{store.url}/out", *WORDS, "-j", "2", "-q")
    with subprocess.Popen([sys.executable, "-m", "dropcli", *words]) as process:
        assert wait_for(lambda: len(store.keys("out")) >= 20 or process.poll() is not None)
        process.kill()
    assert run(*words, "--json").errors == ["exists"]
    assert run(*words, "--resume").code == 0
    assert run("apply", "in", "-o", "out", *WORDS, "-q").code == 0
    assert store.keys("out") == [f"out/{number:03}.pt" for number in range(120)]
    for key in store.keys("out"):
        assert store.get(key) == Path(key).read_bytes()
    assert run("verify", f"{store.url}/out", "--source", "in").code == 0


def test_two_runs_on_one_prefix(run: Run, store: Store, server: str) -> None:
    for number in range(60):
        sample(f"in/{number:03}.pt", number)
    delay = Delay(int(server.partition(":")[2]), 0.2)
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{delay.port}"}
    words = ("apply", "in", "-o", f"{store.url}/out", *WORDS, "-j", "1")
    command = [sys.executable, "-m", "dropcli", *words, "-q"]

    def is_claimed() -> bool:
        found = store.client.list_objects_v2(Bucket="tests", Prefix=f"{store.prefix}/out/")
        return any(item["Key"].endswith("claim.json") for item in found.get("Contents", ()))

    with subprocess.Popen(command, env=environment) as process:
        assert wait_for(is_claimed)
        for more in ((), ("-f",), ("--resume",)):
            result = run(*words, *more, "--json")
            assert result.errors == ["in-use"] or (not more and result.errors == ["exists"])
        assert process.wait(60) == 0
    assert not is_claimed()
    assert run(*words, "--resume", "-q").code == 0
