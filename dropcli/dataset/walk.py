"""The content of a dataset: files with tensors, other files, and the walk that finds them."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import NamedTuple

from dropcli.dataset.journal import Shard, Stamp, is_journal
from dropcli.dataset.prefixes import Listed, objects_below
from dropcli.errors import DropcliError, UsageError, located
from dropcli.files import STDIN, Identity, identity, identity_of, is_temporary, is_url

TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")
# Files that hold no tensors have these suffixes too, so the first bytes decide.
_SHARED_SUFFIXES = ("", ".bin", ".ckpt", ".sav", ".weights")
_TARS = (".pth.tar", ".pt.tar")


class Input(NamedTuple):
    """A file: its path, and its name below the folder in which it was found.

    The path is `folder + file`, and the name is `above + file`. The files of a folder share
    both beginnings, which saves memory.
    """

    folder: str
    above: str
    file: str
    stamp: Stamp | None = None  # for an object, from the listing

    @classmethod
    def of(cls, path: str, name: str, stamp: Stamp | None = None) -> "Input":
        """The file at `path`. Its name ends as its path does."""
        file = os.path.basename(name)
        folder, above = (text.removesuffix(file) for text in (path, name))
        return cls(sys.intern(folder), sys.intern(above), file, stamp)

    @property
    def path(self) -> str:
        return self.folder + self.file

    @property
    def name(self) -> str:
        return self.above + self.file

    @property
    def stream(self) -> str:
        """Its name in the mask key: without the last suffix, with `/` between folders."""
        return os.path.splitext(self.name)[0].replace(os.sep, "/")


@dataclass
class Found:
    """The result of a search: files with tensors, other files, and errors."""

    inputs: list[Input] = field(default_factory=list)
    others: list[Input] = field(default_factory=list)
    failures: list[DropcliError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # links that were not followed
    # Folders that were walked, without their subfolders.
    folders: list[str] = field(default_factory=list)
    # Of several folders; they are part of the output paths.
    kept_names: list[str] = field(default_factory=list)

    def part(self, shard: Shard) -> "Found":
        """The files of a shard; errors belong to every shard."""
        inputs, others = (
            [item for item in items if shard.holds(item.name)]
            for items in (self.inputs, self.others)
        )
        return replace(self, inputs=inputs, others=others)


class Walk:
    """Collects files from folders, and single files."""

    def __init__(self, output: str | None) -> None:
        self.found = Found()
        self.output = output
        self._left_out = identity(output) if output else None

    def file(self, path: str, name: str) -> None:
        """Add one named file with any suffix."""
        if path == STDIN:
            raise UsageError("standard-input", "`-` cannot be one of several inputs")
        self.found.inputs.append(Input.of(path, name))

    def is_output(self, path: str) -> bool:
        """Whether a path is inside the output folder."""
        if not self._left_out:
            return False
        above = os.path.dirname(os.path.realpath(path))
        while identity(above) != self._left_out:
            if above == (above := os.path.dirname(above)):
                return False
        return True

    def folder(self, top: str, prefix: str) -> None:
        """Add all files below a folder. Links are followed, except to a folder above them."""
        if is_url(top):
            self.found.folders.append(top)
            self.objects(objects_below(top, self.output), prefix)
            return
        if self._left_out and identity(top) == self._left_out:
            raise UsageError(
                "same-folder",
                "is both the input and the output",
                "replace the files with --in-place instead of -o",
                top,
            )
        self.found.folders.append(top)
        stack = [(top, prefix, frozenset[Identity]())]
        while stack:
            path, name, above = stack.pop()
            try:
                with located(path):
                    folder = identity_of(os.stat(path))
                    if folder == self._left_out:
                        continue
                    if folder in above:
                        note = f"{path}: not followed: it links to a folder above it"
                        self.found.notes.append(note)
                        continue
                    folders = [*self._entries(path, name)]
            except DropcliError as error:
                self.found.failures.append(error)
                continue
            stack += [(*entry, above | {folder}) for entry in reversed(folders)]

    def objects(self, listed: Iterable[Listed], prefix: str = "") -> None:
        """Add objects of a store, from its listing."""
        for item in listed:
            self.sort(Input.of(item.url, os.path.join(prefix, item.name), item.stamp), True)

    def _entries(self, path: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Add the files of one folder, and yield its subfolders."""
        below, above = os.path.join(path, ""), os.path.join(prefix, "")
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _is_folder(entry):
                    yield entry.path, above + entry.name
                else:
                    self.sort(Input(below, above, entry.name), _is_file(entry))

    def sort(self, item: Input, is_file: bool) -> None:
        """Add a file to those with tensors, or to the others."""
        name = item.file
        if is_file and (has_tensors(name) or _holds_tensors(item.path)):
            self.found.inputs.append(item)
        elif not (is_journal(name) or is_temporary(name)):
            self.found.others.append(item)


def has_tensors(name: str) -> bool:
    """Whether a name has a suffix of tensor files."""
    return os.path.splitext(name)[1].lower() in TENSOR_SUFFIXES


def _holds_tensors(path: str) -> bool:
    """Whether a file with an ambiguous name holds tensors."""
    name = os.path.basename(path).lower()
    if PurePath(name).suffix not in _SHARED_SUFFIXES and not name.endswith(_TARS):
        return False
    if is_journal(name) or not (is_url(path) or os.path.isfile(path)):
        return False
    from dropcli.formats import is_tensor_file  # slow to import

    return is_tensor_file(path)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cycle of links, or an unreadable folder
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether to open it. A broken link then fails with a clear error."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True
