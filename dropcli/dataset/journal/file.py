"""A dataset's journal: a line of JSON for each finished file, written after it was published.

Wherever a run is killed, each file that the journal lists is there. At worst a file is there that
it does not list yet.
"""

import errno
import json
import os
import stat
from contextlib import closing, suppress
from pathlib import PurePath
from typing import Any, NamedTuple
from weakref import WeakSet

from dropcli.errors import NOT_SUPPORTED, FileError, FormatError, located

_SYNC_EVERY = 256  # lines
_NO_LOCKS = NOT_SUPPORTED | {errno.ENOLCK}
NOT_OURS = (ValueError, LookupError, TypeError, RecursionError)  # from reading damaged lines

try:
    import fcntl
except ImportError:  # on Windows, which is not supported
    fcntl = None  # type: ignore[assignment]


class Stamp(NamedTuple):
    """What tells a file from a changed one without reading it."""

    nbytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "Stamp":
        """The stamp of a file; OSError if there is none."""
        return cls.from_status(os.stat(path))

    @classmethod
    def from_status(cls, status: os.stat_result) -> "Stamp":
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class _Entry(NamedTuple):
    """A line of the journal."""

    source: Stamp
    output: tuple[int, int]  # bytes and time of change
    stream: str
    copy: int
    offset: int
    journal: str  # which may be that of a shard


class Journal:
    """The journal of an output folder, which one run at a time may hold.

    `fresh` starts an empty one, with `replace` also over an old one; `read_only` changes nothing.

    Raises:
        FileError: another run holds it, or has just written it.
        FormatError: a line is not one of a journal.
    """

    def __init__(
        self,
        path: str,
        *,
        fresh: bool = False,
        replace: bool = False,
        read_only: bool = False,
        sync: bool = True,
    ) -> None:
        self.path = path
        self._entries: dict[str, _Entry] = {}
        self._outputs: dict[tuple[str, int, str], str] = {}  # by stream, copy and suffix
        self._unsynced = 0
        self._read_only = read_only
        self._syncs = sync
        self._holds_files = False
        self.settings: dict[str, Any] | None = None  # what all its lines were made with
        self.others: dict[str, dict[str, Any]] = {}  # the settings of journals that were added
        self._begun = False
        writing = os.O_RDWR | os.O_CREAT | os.O_APPEND
        flags = (os.O_RDONLY | os.O_NONBLOCK if read_only else writing) | os.O_CLOEXEC
        with located(path):
            self._fd = os.open(path, flags, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                    raise FileError("not-a-file", "the journal is not a regular file")
                if not read_only:
                    self._lock(empty=fresh and not replace)
                end = 0 if fresh else self._load()
                if not read_only and end != os.fstat(self._fd).st_size:
                    os.ftruncate(self._fd, end)  # cuts off an unfinished line
            except BaseException:
                os.close(self._fd)
                raise
        _held.add(self)

    def confirm(
        self, output: str, path: str, stream: str, copy: int, source: Stamp | None
    ) -> dict[str, Any] | None:
        """The line of this output, if it is still at `path` as it was made from this source.

        `source` is None in place, where the source has become the output.
        """
        entry = self._entries.get(output)
        if entry is None or (entry.stream, entry.copy) != (stream, copy):
            return None
        if source not in (None, entry.source):
            return None
        try:
            return self._line_of(entry) if Stamp.of(path)[:2] == entry.output else None
        except OSError:
            return None

    def output_of(self, stream: str, copy: int, suffix: str) -> str | None:
        """The name of this copy's output in the journal."""
        return self._outputs.get((stream, copy, suffix))

    def include(self, path: str) -> None:
        """Read another journal of the same folder too; of each output the last line counts."""
        with closing(Journal(path, read_only=True)) as other:
            if other.settings is not None:
                self.others[path] = other.settings
            for output, entry in other._entries.items():
                known = self._entries.get(output)
                if known is None or known.output[1] < entry.output[1]:
                    self._entries[output] = entry
            self._outputs |= other._outputs

    @property
    def is_known(self) -> bool:
        """Whether it, or one that it includes, records the settings of a run."""
        return self.settings is not None or bool(self.others)

    def begin(self, settings: dict[str, Any]) -> None:
        """Record the settings before the first file is finished."""
        if not self._begun:
            holds_files = self._holds_files
            self.add(json.dumps({"settings": settings}, allow_nan=False))
            self._holds_files = holds_files
            with located(self.path):
                self._sync()

    @property
    def outputs(self) -> list[str]:
        """The names of all outputs, below the folder."""
        return list(self._entries)

    def knows(self, output: str) -> bool:
        """Whether a run of this folder made this output."""
        return output in self._entries

    def add(self, line: str) -> None:
        """Append a line of JSON."""
        with located(self.path):
            rest = memoryview(line.encode() + b"\n")
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._unsynced += 1
            self._begun = self._holds_files = True
            if self._unsynced >= _SYNC_EVERY:
                self._sync()

    def clear(self) -> None:
        """Have the journal removed when it is closed."""
        self._holds_files = False

    def close(self) -> None:
        """Release the journal; one that lists no file is removed."""
        _held.discard(self)
        with located(self.path):
            try:
                if self._unsynced:
                    self._sync()
                if not (self._read_only or self._holds_files):
                    os.unlink(self.path)
            finally:
                os.close(self._fd)

    def let_go(self) -> None:
        """In a copy of the process, which would keep the lock when this one is killed."""
        os.close(self._fd)

    def _lock(self, *, empty: bool) -> None:
        """FileError if another run holds it, or began and ended since we looked at the folder."""
        try:
            if fcntl is not None:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use() from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        ours = os.fstat(self._fd)
        with suppress(FileNotFoundError):
            if os.path.samestat(ours, os.stat(self.path)) and not (empty and ours.st_size):
                return
        raise _in_use()

    def _sync(self) -> None:
        if self._syncs:
            os.fsync(self._fd)
        self._unsynced = 0

    def _load(self) -> int:
        """Read all lines, and return where the last whole one ends."""
        offset = 0
        with open(self._fd, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    settings = self._read(json.loads(line), offset)
                except NOT_OURS:
                    message = f"line {number} is damaged"
                    raise FormatError(
                        "damaged-journal", message, "start again with --force"
                    ) from None
                if self.settings not in (None, settings):
                    message = f"line {number} has other settings than the lines before"
                    raise FormatError("damaged-journal", message)
                self.settings, self._begun = settings, True
                offset += len(line)
        return offset

    def _read(self, line: dict[str, Any], offset: int) -> dict[str, Any]:
        """Take in a line, which may hold only the settings; returns these."""
        settings = line["settings"]
        if not isinstance(settings, dict) or "p" not in settings:
            raise TypeError
        settings.setdefault("select", "all")  # the only rule when it was not recorded
        if len(line) > 1:
            numbers = ("source_bytes", "source_mtime_ns", "source_inode")
            source = Stamp(*(int(line[key]) for key in numbers))
            made = int(line["bytes"]), int(line["output_mtime_ns"])
            output, stream, copy = line["output"], line["stream"], int(line["copy"])
            self._entries[output] = _Entry(source, made, stream, copy, offset, self.path)
            self._outputs[stream, copy, PurePath(output).suffix] = output
            self._holds_files = True
        return settings

    def _line_of(self, entry: _Entry) -> dict[str, Any]:
        own = entry.journal == self.path
        with open(self._fd if own else entry.journal, "rb", closefd=not own) as file:
            file.seek(entry.offset)
            line: dict[str, Any] = json.loads(file.readline())
        return line


_held: "WeakSet[Journal]" = WeakSet()


def _let_go() -> None:
    for journal in _held:
        journal.let_go()


os.register_at_fork(after_in_child=_let_go)


def check_idle(path: str) -> None:
    """FileError if another run holds this journal, as far as locks reach."""
    with located(path):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use() from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        finally:
            os.close(fd)


def _in_use() -> FileError:
    return FileError("in-use", "another run is writing to this folder")
