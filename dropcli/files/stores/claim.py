"""A claim on a prefix or a key: an object that a run creates, renews, and removes.

A run that was killed does not remove its claim. On the same machine, the process of the run shows
whether it is dead. From another machine, the claim is watched for longer than a run takes to
renew one.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

from dropcli.errors import DropcliError, FileError
from dropcli.files.log import in_use
from dropcli.files.stores.client import asking, client_of
from dropcli.files.temporary import new_run
from dropcli.parallel import Threads

BEAT = 10.0  # seconds between renewals
_WATCHED = 25.0  # seconds to watch a claim
_BETWEEN = 0.2  # seconds between attempts to take a claim


class Claim:
    """The claim of this process on `url`. Raises FileError if another run holds it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._run = new_run()
        self._beats = 0
        self._etag = ""
        self._is_lost = False
        while not self._put("create"):
            if etag := left_behind(url):
                if self._put({"e_tag": etag}):
                    return
                raise in_use()

    def renew(self) -> None:
        """Renew the claim. Raises FileError if another run has taken it over."""
        if not self._put({"e_tag": self._etag}):
            self._is_lost = True
            raise FileError("in-use", "another run took over this folder", None, self._url)

    def release(self) -> None:
        if self._is_lost:
            return
        store, key = client_of(self._url, writing=True)
        with suppress(DropcliError), asking(self._url):
            store.delete(key)

    def _put(self, mode: Any) -> bool:
        self._beats += 1
        store, key = client_of(self._url, writing=True)
        words = {**_self(), "run": self._run, "beats": self._beats}
        try:
            with asking(self._url):
                self._etag = store.put(key, json.dumps(words).encode(), mode=mode)["e_tag"] or ""
        except DropcliError as error:
            if error.code not in ("exists", "changed-while-read", "not-found"):
                raise
            # The answer to a put may be lost, so the claim may be this one.
            holder, self._etag = _holder(self._url)
            return holder == words
        return True


@contextmanager
def claimed(url: str) -> Iterator[None]:
    """Hold a claim inside the block, after other runs; none without permission to write one."""
    claim, ended = _waited_for(url), Event()
    with Threads(1) as pool:
        if claim:
            pool.submit(_keep, claim, ended)
        try:
            yield
        finally:
            ended.set()


def _waited_for(url: str) -> Claim | None:
    while True:
        try:
            return Claim(url)
        except DropcliError as error:
            if error.code == "forbidden":
                return None
            if error.code != "in-use":
                raise
            time.sleep(_BETWEEN)


def _keep(claim: Claim, ended: Event) -> None:
    """Renew a claim until `ended`, then remove it."""
    try:
        while not ended.wait(BEAT):
            claim.renew()
    finally:
        claim.release()


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
