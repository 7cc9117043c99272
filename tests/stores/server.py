"""SeaweedFS on 127.0.0.1, from the wheel of the extra `test-remote`, and another client of it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

BUCKET = "tests"
KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "of-tests"}
READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "of-tests"}


def large(name: str, mebibytes: int) -> bytes:
    """A file of one tensor, and its bytes."""
    tensors = {"x": torch.randn(mebibytes << 8, 1 << 10)}
    torch.save(tensors, name) if name.endswith(".pt") else save_file(tensors, name)
    return Path(name).read_bytes()


class Store:
    """The objects below the prefix of one test, as another client sees them."""

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

    @property
    def port(self) -> int:
        return int(self.host.partition(":")[2])

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

    def all_keys(self, below: str = "") -> list[str]:
        """The keys below a part of the prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.prefix}/{below}"
        )
        found = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return sorted(key.removeprefix(f"{self.prefix}/") for key in found)

    def keys(self, below: str = "") -> list[str]:
        """The keys without those of journals."""
        return [key for key in self.all_keys(below) if ".jsonl/" not in key]

    def objects(self, below: str) -> dict[str, bytes]:
        """The content of the objects below a part of the prefix, by the rest of their keys."""
        keys = self.keys(f"{below}/")
        return {key.removeprefix(f"{below}/"): self.get(key) for key in keys}

    def delete(self, below: str) -> None:
        for key in self.all_keys(below):
            self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")

    def uploads(self) -> list[str]:
        """The keys of uploads that have neither ended nor been aborted."""
        return [item["Key"] for item in self._uploads()]

    def abort_uploads(self) -> int:
        """Remove uploads that `kill -9` left, like the rule in the guide; return their number."""
        found = self._uploads()
        for item in found:
            self.client.abort_multipart_upload(
                Bucket=BUCKET, Key=item["Key"], UploadId=item["UploadId"]
            )
        return len(found)

    def _uploads(self) -> list[dict[str, Any]]:
        answer = self.client.list_multipart_uploads(Bucket=BUCKET)
        return [i for i in answer.get("Uploads", ()) if i["Key"].startswith(self.prefix)]


def program() -> str | None:
    """The path of the server's program, if it is installed."""
    beside = shutil.which("weed", path=str(Path(sys.executable).parent))
    return beside or shutil.which("weed")


@contextmanager
def running(weed: str, folder: Path) -> Iterator[str]:
    """The host and port of an empty server with its files in this folder."""
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
    process, host = _start(weed, folder)
    try:
        while not _create_bucket(host, process):  # another program took a port first
            process, host = _start(weed, folder)
        yield host
    finally:
        process.kill()  # a normal end would take long
        process.wait()


def _start(weed: str, folder: Path) -> "tuple[subprocess.Popen[bytes], str]":
    ports = [_free_port() for _ in range(4)]
    words = "-ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -volume.max=200"
    words += " -s3.port.iceberg=0 -s3.port.lance=0"
    flags = ("master", "volume", "filer", "s3")
    command = [weed, f"-logdir={folder}", "server", f"-dir={folder}", *words.split()]
    command += [f"-s3.config={folder}/s3.json"]
    command += ["-master.volumeSizeLimitMB=300", "-master.telemetry=false"]
    command += [f"-{flag}.port={port}" for flag, port in zip(flags, ports, strict=True)]
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log), f"127.0.0.1:{ports[3]}"


def _free_port() -> int:
    """A port such that it and the port 10,000 higher, which the server also uses, are free."""
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


def _create_bucket(host: str, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for the server, and create the bucket; False if it ended at once."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 60
    while True:
        try:
            Store(host, "").client.create_bucket(Bucket=BUCKET)
            Store(host, "start").put("x", b"x")
            return True
        except (BotoCoreError, ClientError):
            assert time.monotonic() < deadline
            if process.poll() is not None:
                return False
            time.sleep(0.2)


def settings(endpoint: str) -> dict[str, str]:
    """The environment of a client of the server, perhaps through a proxy."""
    return {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
