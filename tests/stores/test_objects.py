"""Objects are read and written like files, with the same bytes and the same masks."""

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.builders import sample
from tests.conftest import SETTINGS, WORDS, Run, peak_megabytes, shell
from tests.stores.conftest import Faulty
from tests.stores.server import READER, Store, large


def slowly(method: str, path: str) -> None:
    """No fault, but a delay, so that requests overlap."""
    time.sleep(0.05)


def local(run: Run, *arguments: object) -> bytes:
    """The output of the same command on the same file on disk."""
    assert run("apply", *arguments, *SETTINGS, "-q", "-f").code == 0
    return Path(str(arguments[-1])).read_bytes()


@pytest.mark.parametrize("source", ["x.pt", "legacy/x.pt", "x.safetensors"])
@pytest.mark.parametrize("output", ["y.safetensors", "y.pt"])
def test_one_object_into_one(run: Run, store: Store, source: str, output: str) -> None:
    tensors = {"x": torch.randn(40, 30), "n": torch.arange(5)}
    if source == "x.safetensors":
        save_file(tensors, source)
    else:
        Path("legacy").mkdir()
        torch.save(tensors, source, _use_new_zipfile_serialization="legacy" not in source)
    url = store.put(source, Path(source).read_bytes())
    words = ("apply", url, "-o", f"{store.url}/{output}", *SETTINGS, "--json")
    result = run(*words)
    assert result.code == 0
    assert result.json["files"][0]["stream"] == "x"
    assert store.get(output) == local(run, source, "-o", output)
    assert run("verify", f"{store.url}/{output}", "--source", url).code == 0
    assert run("info", url).code == 0
    assert run("apply", url, "-o", f"{store.url}/{output}", *SETTINGS, "--json").errors == [
        "exists"
    ]


def test_a_prefix_gives_what_its_folder_gives(
    run: Run, store: Store, data: dict[str, torch.Tensor]
) -> None:
    url = store.put_folder("data")
    more = ("--copies", "2", "--keep-original", "--copy-others", *WORDS, "-j", "2")
    result = run("apply", url, "-o", f"{store.url}/out", *more, "--json")
    assert result.code == 0
    assert run("apply", "data", "-o", "out", *more, "-q").code == 0
    made = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert store.keys("out") == [f"out/{name}" for name in made if name != "dropcli.jsonl"]
    for key in store.keys("out"):
        assert store.get(key) == Path(key).read_bytes()
    for source in (url, "data"):
        assert run("verify", f"{store.url}/out", "--source", source).code == 0
    again = run("apply", url, "-o", f"{store.url}/out", *more, "--resume", "--json")
    assert {file["status"] for file in again.json["files"]} == {"skipped"}
    assert run("apply", url, "-o", f"{store.url}/out", *more, "--json").errors == ["exists"]
    assert run("apply", url, "-o", f"{store.url}/out", *more, "-f").code == 0


def test_shards_globs_and_lists(run: Run, store: Store, data: dict[str, torch.Tensor]) -> None:
    url = store.put_folder("data")
    for shard in ("1/2", "2/2"):
        more = ("--shard", shard, *SETTINGS, "-q")
        assert run("apply", url, "-o", f"{store.url}/out/", *more).code == 0
    assert run("apply", url, "-o", f"{store.url}/out/", *SETTINGS, "--resume").code == 0
    whole = {key: store.get(key) for key in store.keys("out")}
    assert len(whole) == len(data)
    found = run("apply", f"{url}/**/*.pt", "-o", f"{store.url}/glob/", *SETTINGS, "--json")
    streams = {stream for number, stream in enumerate(data) if number % 2}
    assert {file["stream"] for file in found.json["files"]} == streams
    Path("list").write_text("train/0.safetensors\ntrain/1.pt\n")
    words = ("--files-from", "list", *SETTINGS)
    assert run("apply", url, "-o", f"{store.url}/list/", *words).code == 0
    for folder, keys in (("glob", store.keys("glob")), ("list", store.keys("list"))):
        assert keys
        assert all(store.get(key) == whole[key.replace(folder, "out", 1)] for key in keys)


def test_keys_with_special_characters(run: Run, store: Store) -> None:
    names = ["a b", "a%20b", "a%", "é", "[1]", "a+b", "#x?y"]
    for name in names:
        sample(f"in/{name}/{name}.pt")
    url = store.put_folder("in")
    assert run("apply", url, "-o", f"{store.url}/out", *SETTINGS, "-q").code == 0
    assert run("apply", "in", "-o", "out", *SETTINGS, "-q").code == 0
    for name in names:
        key = f"out/{name}/{name}.pt"
        assert store.get(key) == Path(key).read_bytes()
        assert run("info", f"{store.url}/{key}").code == 0


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_large_object_goes_in_parts(run: Run, store: Store, faulty: Faulty, name: str) -> None:
    url = store.put(name, large(name, 66))
    proxy = faulty(slowly)
    output = f"{store.url}/y{Path(name).suffix}"
    assert run("apply", url, "-o", output, *SETTINGS, "-q").code == 0
    assert store.get(f"y{Path(name).suffix}") == local(run, name, "-o", f"y{Path(name).suffix}")
    parts = [path for method, path in proxy.seen if method == "PUT" and "partNumber" in path]
    assert len(parts) == 9
    assert proxy.busiest >= 4
    assert run("apply", url, "-o", output, *SETTINGS, "--json").errors == ["exists"]
    assert run("apply", url, "-o", output, *SETTINGS, "-q", "-f").code == 0


def test_small_objects_are_fetched_and_put_together(run: Run, store: Store, faulty: Faulty) -> None:
    for number in range(40):
        sample(f"in/{number}.pt")
    url = store.put_folder("in")
    proxy = faulty(slowly)
    assert run("apply", url, "-o", f"{store.url}/out", *SETTINGS, "-q", "-j", 1).code == 0
    objects = [method for method, path in proxy.seen if path.endswith(".pt")]
    assert objects.count("PUT") == 40
    assert 40 <= objects.count("GET") <= 48  # the first eight are tried first
    assert proxy.busiest >= 4


def test_info_reads_headers_only(run: Run, store: Store, faulty: Faulty) -> None:
    url = store.put("x.safetensors", large("x.safetensors", 20))
    proxy = faulty(lambda method, path: None)
    assert run("info", url).code == 0
    assert len([method for method, _ in proxy.seen if method == "GET"]) == 1


def test_memory_is_bounded(store: Store) -> None:
    url = store.put("x.safetensors", large("x.safetensors", 100))
    os.unlink("x.safetensors")
    words = ("-o", f"{store.url}/y.safetensors", "-p", "0.3", "--seed", "7", "-q")
    assert peak_megabytes("apply", url, *words) < 250


def test_unsupported_requests_are_one_error(run: Run, store: Store) -> None:
    sample("x.pt")
    url = store.put("x.pt", Path("x.pt").read_bytes())
    for words, code in (
        (("apply", url, "--in-place"), "in-place-store"),
        (("apply", store.url, "--in-place"), "in-place-store"),
        (("apply", f"{store.url}/no.pt", "-o", "y.pt"), "not-found"),
        (("apply", "s3://no-such-bucket/x.pt", "-o", "y.pt"), "no-bucket"),
        (("apply", "s3:///x.pt", "-o", "y.pt"), "no-bucket-name"),
        (("apply", store.url, "-o", store.url), "same-folder"),
        (("apply", url, "-o", url), "same-file"),
        (("apply", url, "-o", f"{store.url}/y"), "no-suffix"),
        (("apply", f"{store.url}/*.npz", "-o", "out"), "no-match"),
        (("verify", url, "--source", f"{store.url}/none"), "no-source"),
        (("info", f"{store.url}/no.pt"), "not-found"),
    ):
        result = run(*words, "--json")
        assert (result.errors, result.code) == ([code], 1 if code in MISSING else 2), words
        assert len(result.err.splitlines()) <= 2
    assert store.keys() == ["x.pt"]


MISSING = {"not-found", "no-bucket", "no-match"}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "no-credentials"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "forbidden"),
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "forbidden"),
        (READER, "forbidden"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": "nobody"}, "no-credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "unreachable"),
    ],
)
def test_wrong_settings(
    run: Run,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    code: str,
) -> None:
    sample("x.pt")
    url = store.put("x.pt", Path("x.pt").read_bytes())
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    result = run("apply", url, "-o", f"{store.url}/y.pt", *SETTINGS, "--json")
    assert (result.code, result.errors) == (1, [code])
    assert len(result.err.splitlines()) <= 2
    assert store.keys() == ["x.pt"]


def test_a_profile(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sample("x.pt")
    url = store.put("x.pt", Path("x.pt").read_bytes())
    Path("credentials").write_text(
        f"[tests]\naws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    monkeypatch.setenv("AWS_PROFILE", "tests")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert run("info", url).code == 0


def test_without_the_extra() -> None:
    code = "import sys; sys.modules['obstore'] = None; from dropcli.cli import main; exit(main())"
    done = shell(f'python -c "{code}" info s3://bucket/x.pt')
    assert done.returncode == 1
    assert b"pip install 'dropcli[remote]'" in done.stderr


def test_looking_at_objects(run: Run, store: Store, faulty: Faulty) -> None:
    """What is shown of objects is what is shown of the same files, and only a part is read."""
    tensors = {"images": torch.rand(64, 3, 128, 128), "label": torch.arange(64)}
    for name in ("x.safetensors", "x.pt"):
        save_file(tensors, name) if name[2:] == "safetensors" else torch.save(tensors, name)
        url = store.put(name, Path(name).read_bytes())
        proxy = faulty(lambda method, path: None)
        shown, same = run("preview", url, "--seed", "1"), run("preview", name, "--seed", "1")
        assert (shown.code, shown.err) == (same.code, same.err) == (0, "")
        assert shown.out.splitlines()[1:] == same.out.splitlines()[1:]
        requests = [method for method, _ in proxy.seen if method == "GET"]
        assert 0 < len(requests) < 80  # a run of elements each, at most
        assert run("info", "--stats", url).code == 0
        for command in ("mask", "apply"):
            output = f"{store.url}/{command}-{name}"
            words = ("-o", output, "--seed", "1", "-q", "--stats", f"{command}-{name}.html")
            assert run(command, url, *words).code == 0
            assert "<img" in Path(f"{command}-{name}.html").read_text()
        result = run("diff", url, f"{store.url}/apply-{name}", "--json")
        changed = {t["name"]: t["status"] for t in result.json["files"][0]["tensors"]}
        assert (result.code, changed) == (4, {"images": "changed", "label": "equal"})
        like = ("-o", "m.pt", "--like", f"{store.url}/apply-{name}")
        assert run("mask", url, *like, "-qf").code == 0
    assert run("preview", store.url, "--seed", "1", "-o", f"{store.url}/sheet.html").code == 0
    assert b"Preview of apply-x.pt" in store.get("sheet.html")
    assert run("diff", store.url, store.url, "--json").errors == ["not-found"]
