"""A log in a store. Objects cannot be appended to, so each part of the log is an object."""

import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from dropcli.errors import DropcliError
from dropcli.files.log import Log, in_use
from dropcli.files.stores.claim import BEAT, Claim
from dropcli.files.stores.client import asking, client_of
from dropcli.files.stores.objects import list_objects
from dropcli.files.stores.writer import put_object

_AT_ONCE = 16


class ObjectLog(Log):
    """The objects `<url>/000001.jsonl` and so on, protected by the claim `<url>/claim.json`.

    Lines are written within ten seconds, and when `sync` is called. The arguments are those of
    `FileLog`.
    """

    def __init__(self, url: str, *, fresh: bool, replace: bool, read_only: bool) -> None:
        self._url = url
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._error: DropcliError | None = None
        self._claim = None if read_only else Claim(f"{url}/claim.json")
        self._read = tempfile.TemporaryFile()  # noqa: SIM115  # the lines that were there
        try:
            self._parts = [] if fresh and replace else parts_of(url)
            if fresh and self._parts:
                raise in_use()  # another run began and ended since the check
            if fresh and not read_only:
                self.remove()
            self._number = int(self._parts[-1][-12:-6]) if self._parts else 0
            self._download()
        except BaseException:
            self.close()
            raise
        if self._claim:
            threading.Thread(target=self._beat, args=(self._claim,), daemon=True).start()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        self._read.seek(0)
        place = 0
        for line in self._read:
            yield place, line
            place += len(line)

    def line_at(self, place: int) -> bytes:
        self._read.seek(place)
        return self._read.readline()

    def append(self, line: bytes) -> None:
        if self._error:
            raise self._error
        with self._lock:
            self._waiting += line

    def sync(self) -> None:
        if self._error:
            raise self._error
        with self._lock:
            if self._waiting:
                put_object(f"{self._url}/{self._number + 1:06}.jsonl", self._waiting, replace=False)
                self._number += 1
                self._waiting = bytearray()

    def remove(self) -> None:
        remove_parts(self._url)

    def close(self) -> None:
        self._ended.set()
        self._read.close()
        if self._claim:
            with self._lock:
                self._claim.release()

    def _download(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for data in pool.map(_content, self._parts):
                self._read.write(data)

    def _beat(self, claim: Claim) -> None:
        """Renew the claim and write pending lines until the run ends."""
        while not self._ended.wait(BEAT):
            try:
                self.sync()
                with self._lock:
                    if not self._ended.is_set():
                        claim.renew()
            except DropcliError as error:
                self._error = error
                return


def parts_of(url: str) -> list[str]:
    """The URLs of the objects of a log, in order."""
    found = (item.url for item in list_objects(url))
    return sorted(part for part in found if re.fullmatch(r"/\d{6}\.jsonl", part[len(url) :]))


def remove_parts(url: str) -> None:
    """Remove the objects of a log."""
    store, _ = client_of(url, writing=True)
    if keys := [client_of(part)[1] for part in parts_of(url)]:
        with asking(url):
            store.delete(keys)


def first_line(url: str) -> bytes | None:
    """The first line of a log; None if there is no log."""
    parts = parts_of(url)
    return bytes(_content(parts[0])).split(b"\n", 1)[0] if parts else None


def _content(url: str) -> memoryview:
    store, key = client_of(url)
    with asking(url):
        return memoryview(store.get(key).buffer())
