"""Faults between client and store: the object is the old or the new one, never a part."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.builders import sample
from tests.conftest import COMMAND, SETTINGS, WORDS, Run, codes, wait_for
from tests.stores.conftest import Faulty
from tests.stores.proxy import Fault
from tests.stores.server import Store, large


def start(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


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
        pytest.param("GET", Fault(after=0), "cut-off", marks=pytest.mark.slow),
        pytest.param("PUT", Fault(cut_request=True), "cut-off", marks=pytest.mark.slow),
    ],
)
def test_a_permanent_fault_is_one_error(
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
def test_a_temporary_fault_is_retried(run: Run, store: Store, faulty: Faulty, fault: Fault) -> None:
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
def test_a_lost_response_is_no_error(
    run: Run, store: Store, faulty: Faulty, force: tuple[str, ...]
) -> None:
    """The object exists, so the repeated request finds it."""
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
def test_a_signal_ends_an_upload(store: Store, faulty: Faulty, number: int) -> None:
    large("x.safetensors", 65)
    going_on = threading.Event()

    def wait_at_the_third_part(method: str, path: str) -> None:
        if "partNumber=3" in path:
            going_on.wait(30)

    faulty(wait_at_the_third_part)
    with start("x.safetensors", "-o", f"{store.url}/y.safetensors", "-q") as process:
        assert wait_for(store.uploads)
        process.send_signal(number)
        going_on.set()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert len(errors.splitlines()) == 1, errors
    assert not store.keys()


def test_two_writers_of_a_large_object(run: Run, store: Store, faulty: Faulty) -> None:
    """Both have checked for the object, and complete their uploads at once."""
    large("x.safetensors", 65)
    together = threading.Barrier(2, timeout=60)

    def meet_before_the_end(method: str, path: str) -> None:
        if "partNumber=8" in path:
            together.wait()

    faulty(meet_before_the_end)
    words = ("x.safetensors", "-o", f"{store.url}/y.safetensors", "-p", "0.3", "--json", "--seed")
    with start(*words, "1") as one, start(*words, "2") as two:
        shown = [process.communicate(timeout=60)[0] for process in (one, two)]
    codes_of = sorted((one.returncode, two.returncode))
    assert codes_of == [0, 1], shown
    assert codes(shown[one.returncode == 0]) == ["exists"]
    assert store.all_keys() == ["y.safetensors"]
    seed = 1 if one.returncode == 0 else 2
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0.3, "--seed", seed).code == 0
    assert store.get("y.safetensors") == Path("y.safetensors").read_bytes()


def test_killed_and_resumed(run: Run, store: Store) -> None:
    for number in range(120):
        sample(f"in/{number:03}.pt", number)
    url = store.put_folder("in")
    words = (url, "-o", f"{store.url}/out", *WORDS, "-j", "2", "-q")
    with start(*words) as process:
        assert wait_for(lambda: len(store.keys("out")) >= 20 or process.poll() is not None)
        process.kill()
    assert run("apply", *words, "--json").errors == ["exists"]
    assert run("apply", *words, "--resume").code == 0
    assert run("apply", "in", "-o", "out", *WORDS, "-q").code == 0
    assert store.keys("out") == [f"out/{number:03}.pt" for number in range(120)]
    for key in store.keys("out"):
        assert store.get(key) == Path(key).read_bytes()
    assert run("verify", f"{store.url}/out", "--source", "in").code == 0


def test_two_runs_on_one_prefix(run: Run, store: Store, faulty: Faulty) -> None:
    for number in range(20):
        sample(f"in/{number:03}.pt", number)
    going_on = threading.Event()

    def wait_before_objects(method: str, path: str) -> None:
        if method == "PUT" and path.endswith(".pt"):
            going_on.wait(60)

    words = ("in", "-o", f"{store.url}/out", *WORDS, "-j", "1")
    faulty(wait_before_objects)
    claim = "out/dropcli.jsonl/claim.json"
    with start(*words, "-q") as process:
        assert wait_for(lambda: claim in store.all_keys("out"))
        for more in ((), ("-f",), ("--resume",)):
            assert run("apply", *words, *more, "--json").errors == ["in-use"]
        going_on.set()
        assert process.wait(60) == 0
    assert claim not in store.all_keys("out")
    assert len(store.keys("out")) == 20
    assert run("apply", *words, "--resume", "-q").code == 0


@pytest.mark.slow
def test_the_claim_of_another_host(run: Run, store: Store) -> None:
    """The claim is watched: if it is renewed its run is active, otherwise its run has ended."""
    for number in range(20):
        sample(f"in/{number:03}.pt", number)
    words = ("apply", "in", "-o", f"{store.url}/out", *SETTINGS)
    assert run(*words, "-q").code == 0
    whole = store.objects("out")
    store.delete("out/00")
    ended = threading.Event()

    def claim(beats: int) -> None:
        holder = {"place": "elsewhere", "pid": 1, "started": "1", "beats": beats}
        store.put("out/dropcli.jsonl/claim.json", json.dumps(holder).encode())

    def renew() -> None:
        beats = 1
        while not ended.wait(3):
            claim(beats := beats + 1)

    claim(1)
    renewing = threading.Thread(target=renew)
    renewing.start()
    assert run(*words, "--resume", "--json").errors == ["in-use"]
    ended.set()
    renewing.join()
    started = time.monotonic()
    assert run(*words, "--resume", "-q").code == 0
    assert 20 < time.monotonic() - started < 60
    assert store.objects("out") == whole
    assert "out/dropcli.jsonl/claim.json" not in store.all_keys("out")
