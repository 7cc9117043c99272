"""A dataset's journal: a line of JSON for each finished file, written after it was published.

So what the journal says is there is there, whenever the run was killed; at worst a file is there
of which it does not know yet.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dropcli.errors import FileError, FormatError, UsageError, located
from dropcli.files import is_file

JOURNAL = "dropcli.jsonl"
JOURNAL_IN_PLACE = "dropcli-in-place.jsonl"  # beside the journal that an output folder may have

_RULES = {  # of the run that is resumed, by its `select`
    "all": "resume with --all-floats, as it began",
    "data/1": "resume without --all-floats, as it began",
    None: "begin anew in another folder",
}
_SYNC_EVERY = 256  # lines

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Stamp:
    """What tells a file from a changed one without reading it: bytes and time of change."""

    nbytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> "Stamp":
        """The stamp of a file; OSError if there is none."""
        status = os.stat(path)
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class _Entry:
    """A line that was found: whose bytes it speaks of, and where it stands."""

    source: Stamp
    inode: int  # of the source
    output: Stamp
    stream: str
    copy: int
    offset: int


class Journal:
    """The journal of an output folder, held by one run at a time.

    `fresh` begins anew, with `replace` also where one is there that is then forgotten; `read_only`
    changes nothing. FileError if another run holds it or just did, FormatError for a line that is
    none of ours.
    """

    def __init__(
        self, path: str, *, fresh: bool = False, replace: bool = False, read_only: bool = False
    ) -> None:
        self.path = path
        self._entries: dict[str, _Entry] = {}
        self._outputs: dict[tuple[str, int, str], str] = {}  # by stream, copy and suffix
        self._unsynced = 0
        self._read_only = read_only
        self._holds_files = False
        self.settings: dict[str, Any] | None = None  # what all its lines were made with
        with located(path):
            flags = (
                os.O_RDONLY | os.O_NONBLOCK if read_only else os.O_RDWR | os.O_CREAT | os.O_APPEND
            )
            self._fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                    raise FileError("not-a-file", "expected a journal, got no regular file")
                if read_only:
                    self._load()
                else:
                    _lock(self._fd)
                    self._check_unmoved(empty=fresh and not replace)
                    # A line that was not finished is cut off.
                    os.ftruncate(self._fd, 0 if fresh else self._load())
            except BaseException:
                os.close(self._fd)
                raise

    def confirm(
        self, output: str, path: str, stream: str, copy: int, source: tuple[Stamp, int] | None
    ) -> dict[str, Any] | None:
        """What is known of this output, if it is still at `path` as it was made from this source.

        source: its stamp and inode; None in place, where it has become the output.
        """
        entry = self._entries.get(output)
        if entry is None or (entry.stream, entry.copy) != (stream, copy):
            return None
        if source not in (None, (entry.source, entry.inode)):
            return None
        try:
            return self._document_at(entry.offset) if Stamp.of(path) == entry.output else None
        except OSError:
            return None

    def output_of(self, stream: str, copy: int, suffix: str) -> str | None:
        """What the output of this copy is called in the journal."""
        return self._outputs.get((stream, copy, suffix))

    def begin(self, settings: dict[str, Any]) -> None:
        """Remember the settings before the first file is finished."""
        if self.settings is None:
            self.settings = settings
            self.add(json.dumps({"settings": settings}) + "\n")
            self._holds_files = bool(self._entries)
            with located(self.path):
                self._sync()

    def knows(self, output: str) -> bool:
        """Whether this output was made by a run of this folder."""
        return output in self._entries

    def add(self, line: str) -> None:
        """Append a line."""
        with located(self.path):
            rest = memoryview(line.encode())
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._unsynced += 1
            self._holds_files = True
            if self._unsynced >= _SYNC_EVERY:
                self._sync()

    def clear(self) -> None:
        """Forget all lines."""
        self._holds_files = False

    def close(self) -> None:
        """Let go of it; one that knows of no file is taken away."""
        with located(self.path):
            try:
                if self._unsynced:
                    self._sync()
                if not (self._read_only or self._holds_files):
                    os.unlink(self.path)
            finally:
                os.close(self._fd)

    def _check_unmoved(self, *, empty: bool) -> None:
        """FileError if another run has begun and ended between our first look and our lock."""
        ours = os.fstat(self._fd)
        with suppress(FileNotFoundError):
            if os.path.samestat(ours, os.stat(self.path)) and not (empty and ours.st_size):
                return
        raise _in_use()

    def _sync(self) -> None:
        os.fsync(self._fd)
        self._unsynced = 0

    def _load(self) -> int:
        """Take in all lines, and return where the last one ends."""
        offset = 0
        with open(self._fd, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    self._take(number, line, offset)
                    offset += len(line)
        return offset

    def _take(self, number: int, line: bytes, offset: int) -> None:
        try:
            line_settings = self._read(json.loads(line), offset)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise FormatError(
                "damaged-journal",
                f"expected a finished file in line {number}, got something else",
                "begin anew with --force",
            ) from None
        if self.settings not in (None, line_settings):
            raise FormatError(
                "damaged-journal", f"expected one run's settings, got line {number}'s"
            )
        self.settings = line_settings

    def _read(self, entry: dict[str, Any], offset: int) -> dict[str, Any]:
        """Take in a line, which may be no more than the settings; gives these."""
        settings = entry["settings"]
        if not isinstance(settings, dict) or "p" not in settings:
            raise TypeError
        settings.setdefault("select", "all")  # before there were two rules
        if len(entry) > 1:
            output, stream, copy = entry["output"], entry["stream"], int(entry["copy"])
            source = Stamp(int(entry["source_bytes"]), int(entry["source_mtime_ns"]))
            made = Stamp(int(entry["bytes"]), int(entry["output_mtime_ns"]))
            inode = int(entry["source_inode"])
            self._entries[output] = _Entry(source, inode, made, stream, copy, offset)
            self._outputs[stream, copy, PurePath(output).suffix] = output
            self._holds_files = True
        return settings

    def _document_at(self, offset: int) -> dict[str, Any]:
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(offset)
            document: dict[str, Any] = json.loads(file.readline())
        return document


def settings_of(path: str) -> dict[str, Any] | None:
    """The settings of the run that wrote this journal, None if there is none."""
    if not is_file(path):
        return None
    try:
        with open(path, "rb") as file:
            settings = json.loads(file.readline())["settings"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def check_settings(path: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """UsageError, naming what differs, unless a journal's settings are those of this run."""
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        was = ", ".join(f"{key} {json.dumps(before.get(key))}" for key in differing)
        got = ", ".join(f"{key} {json.dumps(now.get(key))}" for key in differing)
        raise UsageError(
            "other-settings",
            f"--resume: expected the settings that it began with, {was}, got {got}",
            _RULES[before.get("select")]
            if differing == ["select"]
            else "resume with those, or write to another folder",
            path,
        )


def _in_use() -> FileError:
    """Two runs want one folder."""
    return FileError(
        "in-use", "expected a folder of its own, got one that another run is writing to"
    )


def _lock(fd: int) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use() from None
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL):
            raise
