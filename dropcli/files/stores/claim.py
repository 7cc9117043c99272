"""A claim on a prefix: an object that a run creates, renews, and removes.

A run that was killed does not remove its claim. On the same machine, the process of the run shows
whether it is dead. From another machine, the claim is watched for longer than a run takes to
renew one.
"""

import json
import os
import time
from contextlib import suppress
from typing import Any

from dropcli.errors import DropcliError, FileError
from dropcli.files.log import in_use
from dropcli.files.stores.client import asking, client_of

BEAT = 10.0  # seconds between renewals
_WATCHED = 25.0  # seconds to watch a claim


class Claim:
    """The claim of this process on `url`. Raises FileError if another run holds it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._beats = 0
        self._etag = ""
        while not self._put("create"):
            if etag := left_behind(url):
                if self._put({"e_tag": etag}):
                    return
                raise in_use()

    def renew(self) -> None:
        """Renew the claim. Raises FileError if another run has taken it over."""
        if not self._put({"e_tag": self._etag}):
            raise FileError("in-use", "another run took over this folder", None, self._url)

    def release(self) -> None:
        store, key = client_of(self._url, writing=True)
        with suppress(DropcliError), asking(self._url):
            store.delete(key)

    def _put(self, mode: Any) -> bool:
        self._beats += 1
        store, key = client_of(self._url, writing=True)
        data = json.dumps(_self() | {"beats": self._beats}).encode()
        try:
            with asking(self._url):
                self._etag = store.put(key, data, mode=mode)["e_tag"] or ""
        except DropcliError as error:
            if error.code in ("exists", "changed-while-read"):
                return False
            raise
        return True


def left_behind(url: str) -> str:
    """Return the ETag of a claim whose run has ended, "" if there is none.

    Raises:
        FileError: the run is still active.
    """
    deadline = time.monotonic() + _WATCHED
    seen = ""
    while True:
        holder, etag = _holder(url)
        if not etag or _is_dead(holder):
            return etag
        if _is_here(holder) or seen not in ("", etag):
            raise in_use()
        if time.monotonic() > deadline:
            return etag
        seen = etag
        time.sleep(1)


def _holder(url: str) -> tuple[dict[str, Any], str]:
    """The content of the claim, and its ETag; both are empty if there is none."""
    store, key = client_of(url)
    try:
        with asking(url):
            found = store.get(key)
            return json.loads(bytes(found.buffer())), found.meta["e_tag"] or ""
    except DropcliError as error:
        if error.code == "not-found":
            return {}, ""
        raise


def _self() -> dict[str, Any]:
    """This process, and the machine or container to which its number belongs."""
    return {"place": _place(), "pid": os.getpid(), "started": _started(os.getpid())}


def _place() -> str:
    words = [os.uname().nodename]
    with suppress(OSError):
        words.append(os.readlink("/proc/self/ns/pid"))
        with open("/proc/sys/kernel/random/boot_id") as file:
            words.append(file.read().strip())
    return " ".join(words)


def _started(pid: int) -> str | None:
    """The start time of a process in kernel ticks; None if it is unknown."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_here(holder: dict[str, Any]) -> bool:
    return holder.get("place") == _place()


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder is a process of this machine that has ended."""
    if not _is_here(holder):
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it belongs to another user, so it is alive
    return bool(holder["started"] != _started(int(holder["pid"])))
