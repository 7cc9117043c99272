"""Clients of the library for object stores, with settings from the environment.

The settings are those of the stores' own tools: `AWS_*`, `GOOGLE_*`, `AZURE_*`. A request that
fails for a temporary reason is sent again, for at most half a minute.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dropcli.errors import DropcliError, FileError, needing
from dropcli.files.stores.errors import explain
from dropcli.files.urls import split_url

with needing("obstore", "remote"):
    import obstore
    from obstore.exceptions import BaseError

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ObjectStore

READ_SECONDS, WRITE_SECONDS = 30, 120  # for one request
_CONNECT_SECONDS = 5
_RETRY_SECONDS = 25  # after this no further attempt begins
_RETRIES = 7
_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
_KEYS = (  # with these settings the library finds credentials without boto3
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def client_of(url: str, *, writing: bool = False) -> "tuple[ObjectStore, str]":
    """Return a client for the bucket of this URL, and the key."""
    bucket, key = split_url(url)
    settings = tuple(sorted(i for i in os.environ.items() if i[0].startswith(_PREFIXES)))
    # A client must not be used in a forked process.
    return _client(bucket, WRITE_SECONDS if writing else READ_SECONDS, settings, os.getpid()), key


def open_writer(url: str, part_bytes: int, at_once: int) -> "WritableFile":
    """Begin a multipart upload, which is removed if its `with` block ends in an exception."""
    store, key = client_of(url, writing=True)
    return obstore.open_writer(store, key, buffer_size=part_bytes, max_concurrency=at_once)


@contextmanager
def asking(url: str) -> Iterator[None]:
    """Turn errors of the library into errors of dropcli."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise explain(error, url, _endpoint(os.environ)) from None


@lru_cache(maxsize=16)
def _client(
    bucket: str, seconds: int, settings: tuple[tuple[str, str], ...], _pid: int
) -> "ObjectStore":
    known = dict(settings)
    more: dict[str, Any] = _s3_settings(known) if bucket.startswith("s3:") else {}
    endpoint = more.get("endpoint", "")
    with asking(bucket):
        return obstore.store.from_url(
            bucket,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=seconds),
            },
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=4),
                    "base": 2,
                },
            },
            **more,
        )


def _endpoint(settings: "dict[str, str] | os._Environ[str]") -> str | None:
    return settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")


def _s3_settings(known: dict[str, str]) -> dict[str, Any]:
    """The settings that the library does not read from the environment as other tools do."""
    more: dict[str, Any] = {}
    if endpoint := _endpoint(known):
        more["endpoint"] = endpoint
    if region := known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION"):
        more["region"] = region
    if not any(known.get(key) for key in _KEYS):
        provider = _profile(known)
        if provider is not None:
            more["credential_provider"] = provider
        elif known.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise explain(ValueError("no credential"), "s3:", None)
    return more


def _profile(known: dict[str, str]) -> Any:
    """Credentials from the files of the AWS tools, which boto3 reads; None if there are none."""
    profile = known.get("AWS_PROFILE")
    files = (
        known.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        known.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if not (profile or any(os.path.exists(os.path.expanduser(path)) for path in files)):
        return None
    try:
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ModuleNotFoundError:
        if not profile:
            return None
        message = "AWS_PROFILE needs boto3, which is not installed"
        raise DropcliError("not-installed", message, "pip install boto3") from None
    try:
        return Boto3CredentialProvider(Session())
    except Exception as error:  # noqa: BLE001  # of many types, such as a profile that is not there
        if not profile:
            return None
        hint = "`aws configure list-profiles` lists the profiles"
        message = f"AWS_PROFILE: {str(error).rstrip('.')}"
        raise FileError("no-credentials", message, hint) from None
