"""Stamps that show whether a file has changed: size, time and inode, or the ETag of an object."""

import errno
import os
from struct import Struct
from typing import Any, NamedTuple

from dropcli.files import Object, find_object, is_url, list_objects


class Stamp(NamedTuple):
    """The version of a file or an object, which is found without reading it."""

    nbytes: int
    mtime_ns: int = 0
    inode: int = 0
    etag: str | None = None  # for an object, which has no inode

    @classmethod
    def of(cls, path: str) -> "Stamp":
        """The stamp of a file or an object. Raises OSError if there is none."""
        if not is_url(path):
            return cls.from_status(os.stat(path))
        if item := find_object(path):
            return cls.of_object(item)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    @classmethod
    def from_status(cls, status: os.stat_result) -> "Stamp":
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    @classmethod
    def of_object(cls, item: Object) -> "Stamp":
        return cls(item.nbytes, etag=item.etag)

    @property
    def of_output(self) -> tuple[int, int | str]:
        """The part that shows whether an output is still the published one."""
        return self.nbytes, self.mtime_ns if self.etag is None else self.etag

    @property
    def of_source(self) -> dict[str, Any]:
        """The stamp of a source in the journal."""
        if self.etag is not None:
            return {"source_bytes": self.nbytes, "source_etag": self.etag}
        return {
            "source_bytes": self.nbytes,
            "source_mtime_ns": self.mtime_ns,
            "source_inode": self.inode,
        }

    @classmethod
    def read(cls, line: dict[str, Any]) -> "Stamp":
        """The stamp of the source in a line of the journal."""
        if "source_etag" in line:
            return cls(int(line["source_bytes"]), etag=str(line["source_etag"]))
        numbers = ("source_bytes", "source_mtime_ns", "source_inode")
        nbytes, mtime_ns, inode = (int(line[key]) for key in numbers)
        return cls(nbytes, mtime_ns, inode)


class Stamps:
    """The stamps of very many local files, in 28 bytes each."""

    _FORM = Struct("=QqIQ")

    def __init__(self) -> None:
        self._packed = bytearray()

    def append(self, stamp: Stamp) -> None:
        time = divmod(stamp.mtime_ns, 10**9)  # times of files may be in any year
        self._packed += self._FORM.pack(stamp.nbytes, *time, stamp.inode)

    def __getitem__(self, number: int) -> Stamp:
        place = number * self._FORM.size
        nbytes, seconds, ns, inode = self._FORM.unpack_from(self._packed, place)
        return Stamp(nbytes, seconds * 10**9 + ns, inode)


def stamps_below(prefix: str) -> dict[str, Stamp]:
    """The stamps of the objects below a prefix, by their URLs."""
    return {item.url: Stamp.of_object(item) for item in list_objects(prefix)}
