"""A dataset's journal: a line of JSON for each finished file, written after publication.

If a run is killed at any moment, each file in the journal exists. At worst a file exists that is
not yet in the journal.
"""

import json
import os
from contextlib import closing, suppress
from pathlib import PurePath
from typing import Any

from dropcli.dataset.journal.stamp import Stamp, stamps_below
from dropcli.errors import FormatError, located
from dropcli.files import Log, is_url, open_log

_SYNC_EVERY = 256  # lines
_MOST_JOURNALS = 1 << 24  # in one folder
NOT_OURS = (ValueError, LookupError, TypeError, RecursionError)  # errors of reading damaged lines


class Journal:
    """The journal of an output folder. One run at a time may hold it.

    `fresh` starts an empty one; with `replace`, an old one is removed. `read_only` changes nothing.

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
        self._paths = [path]  # of this journal and of those it includes
        # To save memory, an output is kept as one number: the place of its line, times
        # _MOST_JOURNALS, plus the number of the journal's path.
        self._lines: dict[str, int] = {}
        self._outputs: dict[int, str] = {}  # by the hashes of stream, copy and suffix
        self._unsynced = 0
        self._read_only = read_only
        self._holds_files = False
        self._there: dict[str, Stamp] | None = None  # outputs in a store, after they are listed
        self.settings: dict[str, Any] | None = None  # the settings for all its lines
        self.others: dict[str, dict[str, Any]] = {}  # the settings of included journals
        self._begun = False
        with located(path):
            self._log = open_log(
                path, fresh=fresh, replace=replace, read_only=read_only, waits=sync
            )
            self._logs: dict[str, Log] = {path: self._log}
            try:
                if not fresh:
                    self._load()
            except BaseException:
                self._log.close()
                raise

    def confirm(
        self, output: str, path: str, stream: str, copy: int, source: Stamp | None
    ) -> dict[str, Any] | None:
        """The line of this output, if the file at `path` is unchanged and made from this source.

        `source` is None in place, where the output has replaced the source.
        """
        line = self._line_about(output)
        if line is None:
            return None
        made_from, made, *named = _parts(line)
        if named != [stream, copy] or source not in (None, made_from):
            return None
        try:
            return line if self._stamp_of(path).of_output == made else None
        except OSError:
            return None

    def output_of(self, stream: str, copy: int, suffix: str) -> str | None:
        """The name of the output of this copy in the journal."""
        return self._outputs.get(hash((stream, copy, suffix)))

    def include(self, path: str) -> None:
        """Read another journal of the same folder too; the last line for an output is used."""
        other = Journal(path, read_only=True)
        if other.settings is not None:
            self.others[path] = other.settings
        self._paths.append(path)
        for output, line in other._lines.items():
            if output not in self._lines or self._is_later(output, other):
                self._lines[output] = line + len(self._paths) - 1
        self._outputs |= other._outputs
        if is_url(path):  # reading single lines again would download all of it each time
            self._logs[path] = other._log
        else:
            other.close()

    @property
    def is_known(self) -> bool:
        """Whether it, or an included journal, records the settings of a run."""
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
        """The names of all outputs, relative to the folder."""
        return list(self._lines)

    def knows(self, output: str) -> bool:
        """Whether a run in this folder wrote this output."""
        return output in self._lines

    def add(self, line: str) -> None:
        """Append a line of JSON."""
        with located(self.path):
            self._log.append(line.encode() + b"\n")
            self._unsynced += 1
            self._begun = self._holds_files = True
            if self._unsynced >= _SYNC_EVERY:
                self._sync()

    def clear(self) -> None:
        """Remove the journal when it is closed."""
        self._holds_files = False

    def close(self) -> None:
        """Release the journal. It is removed if it has no file."""
        with located(self.path):
            try:
                if self._unsynced:
                    self._sync()
                if not (self._read_only or self._holds_files):
                    self._log.remove()
            finally:
                for log in self._logs.values():
                    log.close()

    def _sync(self) -> None:
        self._log.sync()
        self._unsynced = 0

    def _load(self) -> None:
        """Read all lines."""
        for number, (place, line) in enumerate(self._log.lines(), 1):
            try:
                settings = self._read(json.loads(line), place)
            except NOT_OURS:
                message = f"line {number} is damaged"
                raise FormatError("damaged-journal", message, "start again with --force") from None
            if self.settings not in (None, settings):
                message = f"line {number} has other settings than the lines before"
                raise FormatError("damaged-journal", message)
            self.settings, self._begun = settings, True

    def _read(self, line: dict[str, Any], place: int) -> dict[str, Any]:
        """Add a line, which may have only the settings; return the settings."""
        settings = line["settings"]
        if not isinstance(settings, dict) or "p" not in settings:
            raise TypeError
        settings.setdefault("select", "all")  # the only rule before it was recorded
        if len(line) > 1:
            _, _, stream, copy = _parts(line)
            output = line["output"]
            self._lines[output] = place * _MOST_JOURNALS
            self._outputs[hash((stream, copy, PurePath(output).suffix))] = output
            self._holds_files = True
        return settings

    def _line_about(self, output: str) -> dict[str, Any] | None:
        if output not in self._lines:
            return None
        place, number = divmod(self._lines[output], _MOST_JOURNALS)
        path = self._paths[number]
        if path not in self._logs:
            with closing(Journal(path, fresh=True, read_only=True)) as other:
                return _line_at(place, other._log)
        return _line_at(place, self._logs[path])

    def _is_later(self, output: str, other: "Journal") -> bool:
        """Whether the line of `other`, and not the known one, describes the existing output."""
        known, new = (_parts(each._line_about(output) or {})[1] for each in (self, other))
        if isinstance(new[1], int) and isinstance(known[1], int):
            return known[1] < new[1]
        with suppress(OSError):
            path = os.path.join(os.path.dirname(self.path), output)
            return self._stamp_of(path).of_output == new
        return False

    def _stamp_of(self, path: str) -> Stamp:
        """The stamp of an output. Raises OSError if there is none."""
        if not is_url(path):
            return Stamp.of(path)
        if self._there is None:
            self._there = stamps_below(os.path.dirname(self.path))
        if path not in self._there:
            raise FileNotFoundError
        return self._there[path]


def _line_at(place: int, log: Log) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(log.line_at(place))
    return line


def _parts(line: dict[str, Any]) -> tuple[Stamp, tuple[int, int | str], str, int]:
    """The stamps of source and output, the latter as `Stamp.of_output`, the stream and the copy."""
    changed = line["output_etag"] if "output_etag" in line else int(line["output_mtime_ns"])
    return Stamp.read(line), (int(line["bytes"]), changed), line["stream"], int(line["copy"])
