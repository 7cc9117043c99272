"""A store on 127.0.0.1: SeaweedFS, from the wheel of the extra `test-remote`."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.stores.proxy import FaultyStore, Rule

BUCKET = "tests"
KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "of-tests"}
READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "of-tests"}


def large(name: str, mebibytes: int) -> bytes:
    """A file of one tensor, and its bytes."""
    tensors = {"x": torch.randn(mebibytes << 8, 1 << 10)}
    torch.save(tensors, name) if name.endswith(".pt") else save_file(tensors, name)
    return Path(name).read_bytes()


class Store:
    """The objects below a prefix of its own for each test, as another client sees them."""

    def __init__(self, host: str, name: str) -> None:
        import boto3

        self.host, self.endpoint = host, f"http://{host}"
        self.prefix = f"{name}-{time.time_ns()}"
        self.url = f"s3://{BUCKET}/{self.prefix}"
        names = {"AWS_ACCESS_KEY_ID": "aws_access_key_id"}
        names["AWS_SECRET_ACCESS_KEY"] = "aws_secret_access_key"
        keys = {names[key]: value for key, value in KEYS.items()}
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys
        )

    def put(self, key: str, data: bytes) -> str:
        """Put an object, and return its URL."""
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=data)
        return f"{self.url}/{key}"

    def put_folder(self, folder: str) -> str:
        for path in Path(folder).rglob("*"):
            if path.is_file():
                self.put(path.as_posix(), path.read_bytes())
        return f"{self.url}/{folder}"

    def get(self, key: str) -> bytes:
        answer = self.client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")
        data: bytes = answer["Body"].read()
        return data

    def keys(self, below: str = "") -> list[str]:
        """The keys below a part of the prefix, without those of journals."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.prefix}/{below}"
        )
        found = [item["Key"] for page in pages for item in page.get("Contents", ())]
        keys = sorted(key.removeprefix(f"{self.prefix}/") for key in found)
        return [key for key in keys if ".jsonl/" not in key]

    def uploads(self) -> list[str]:
        """The keys of uploads that have neither ended nor been aborted."""
        answer = self.client.list_multipart_uploads(Bucket=BUCKET)
        found = [item["Key"] for item in answer.get("Uploads", ())]
        return [key for key in found if key.startswith(self.prefix)]


def _free_port() -> int:
    """A port that is free, and that plus 10,000 too, which the server uses for itself."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            if port < 55_000:
                try:
                    two.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                return port


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of a server that holds nothing."""
    pytest.importorskip("obstore", reason="needs the extra test-remote")
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("needs the extra test-remote: there is no `weed`")
    folder = tmp_path_factory.mktemp("weed")
    rights = {KEYS["AWS_ACCESS_KEY_ID"]: ["Admin"], READER["AWS_ACCESS_KEY_ID"]: ["Read", "List"]}
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
            "actions": actions,
        }
        for name, actions in rights.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = [_free_port() for _ in range(4)]
    words = "-ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -volume.max=20"
    words += " -s3.port.iceberg=0 -s3.port.lance=0"
    flags = ("master", "volume", "filer", "s3")
    command = [weed, "server", f"-dir={folder}", f"-s3.config={folder}/s3.json", *words.split()]
    command += ["-master.volumeSizeLimitMB=300", "-master.telemetry=false"]
    command += [f"-{flag}.port={port}" for flag, port in zip(flags, ports, strict=True)]
    host = f"127.0.0.1:{ports[3]}"
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _create_bucket(host, process)
        yield host
    finally:
        process.kill()  # it would take its time to end
        process.wait()


def _create_bucket(host: str, process: "subprocess.Popen[bytes]") -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 60
    while True:
        try:
            Store(host, "").client.create_bucket(Bucket=BUCKET)
            Store(host, "start").put("x", b"x")
            return
        except (BotoCoreError, ClientError):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)


@pytest.fixture
def store(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store with the settings of its client in the environment."""
    store = Store(server, request.node.originalname)
    for key in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(key, raising=False)
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield store
    assert not store.uploads()


Faulty = Callable[[Rule], FaultyStore]


@pytest.fixture
def faulty(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """Have the command reach the store through a proxy with faults by a rule."""
    proxies = []

    def faulty(rule: Rule) -> FaultyStore:
        proxies.append(FaultyStore(store.host, rule))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies[-1].url)
        return proxies[-1]

    yield faulty
    for proxy in proxies:
        proxy.close()
