"""Find the files of a dataset: folders walked, globs expanded, lists read.

Every file has a name: its path below the folder that was walked. The name places the output and
makes the stream, so a file has the same mask alone, in its folder, and in any subset.
"""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from dropcli.dataset.journal import Shard, is_journal
from dropcli.dataset.urls import check_local
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import STDIN, Identity, identity, identity_of, is_folder, is_temporary, place_of

TENSOR_SUFFIXES = (".safetensors", ".pt", ".pth")
# Other files have such names too: the first bytes decide.
_SHARED_SUFFIXES = ("", ".bin", ".ckpt", ".sav", ".weights")
_TARS = (".pth.tar", ".pt.tar")


@dataclass(frozen=True)
class Input:
    """A file: where it lies, and its name below the folder it was found in."""

    path: str
    name: str

    @property
    def stream(self) -> str:
        """Its name in the mask key: without the last suffix, and `/` between folders."""
        return os.path.splitext(self.name)[0].replace(os.sep, "/")


@dataclass
class Found:
    """What was found: tensor files, others, and what could not be read."""

    inputs: list[Input] = field(default_factory=list)
    others: list[Input] = field(default_factory=list)
    failures: list[DropcliError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # links that were not followed
    folders: list[str] = field(default_factory=list)  # that were walked, without those in them
    kept_names: list[str] = field(default_factory=list)  # of several folders, below the output

    def part(self, shard: Shard) -> "Found":
        """What belongs to a shard; every shard has what could not be read."""
        inputs, others = (
            [item for item in items if shard.holds(item.name)]
            for items in (self.inputs, self.others)
        )
        return replace(self, inputs=inputs, others=others)


def is_several(operands: list[str]) -> bool:
    """Whether these are not one file but a folder, several files, or a glob."""
    return len(operands) != 1 or _is_glob(operands[0]) or is_folder(operands[0])


def tensor_files(operands: list[str]) -> tuple[list[str], list[DropcliError]]:
    """The paths that these operands mean to a command that only reads, and what went wrong."""
    check_local(operands, piped=False)
    paths, errors = [], []
    for operand in operands:
        if not is_several([operand]):
            paths.append(operand)
            continue
        found = discover([operand], None, None)
        paths += [item.path for item in found.inputs]
        errors += found.failures
        if not (found.inputs or found.failures):
            errors.append(
                FileError("no-files", "there is no .safetensors or .pt file in it", None, operand)
            )
    return paths, errors


def discover(operands: list[str], listed: list[str] | None, output: str | None) -> Found:
    """The files that these operands mean, or the listed ones, each once.

    A walk leaves out the folder `output`. Each of several folders keeps its own name, so that
    `data/train data/val` gives what `data` gives. A list's names are kept below the folder that
    is given beside it, or else the current one, as tar and rsync keep them.
    """
    walk = _Walk(identity(output) if output else None)
    found = walk.found
    if listed is not None:
        base = _base_of_list(operands)
        for path in listed:
            _add_listed(path, base, walk)
    else:
        folders = [operand for operand in operands if os.path.isdir(operand)]
        for operand in operands:
            if operand in folders:
                # Named by its full path, since it may be given as `..`.
                name = os.path.basename(os.path.abspath(operand)) if len(folders) > 1 else ""
                walk.folder(operand, name)
                found.kept_names += [name] if name else []
            elif _is_glob(operand):
                _expand(operand, walk)
            else:
                walk.file(operand, os.path.basename(operand))
    found.inputs = list(dict.fromkeys(found.inputs))
    found.others = list(dict.fromkeys(found.others))
    return found


def read_list(path: str, null: bool) -> list[str]:
    """The paths in a file, `-` for standard input: a line each, or ended by null bytes."""
    with located(place_of(path)):
        with open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file:
            data = file.read()
        if b"\0" in data and not null:
            is_list = PurePath(path).suffix.lower() not in TENSOR_SUFFIXES
            hint = "add -0" if is_list else "it is no list of files: give it without --files-from"
            raise UsageError("null-bytes", "--files-from: the list holds null bytes", hint)
        return [os.fsdecode(path) for path in data.split(b"\0" if null else b"\n") if path]


def _is_glob(operand: str) -> bool:
    """Whether this is a pattern; a file that exists is meant itself, brackets and all."""
    return glob.has_magic(operand) and not os.path.lexists(operand)


def _expand(pattern: str, walk: "_Walk") -> None:
    """The matches of a glob, named below its part that is no pattern."""
    parts = PurePath(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = os.path.join(*parts[:fixed]) if fixed else "."
    found = sorted(glob.glob(pattern, recursive=True))
    matches = [path for path in found if not walk.is_output(path)]
    if not matches:
        raise FileError("no-match", "no file matches", None, pattern)
    # `data/*` takes what a walk would take, and `data/*.bin` what it says.
    sorting = any(_has_tensors(path) for path in matches)
    for path in matches:
        name = os.path.relpath(path, base)
        if os.path.isdir(path):
            if "**" not in parts:  # which reaches into folders itself
                walk.folder(path, "" if name == "." else name)
        elif sorting:
            walk.sort(Input(path, name), os.path.isfile(path) or not os.path.exists(path))
        else:
            walk.file(path, name)


def _base_of_list(operands: list[str]) -> str:
    if len(operands) > 1 or (operands and not is_folder(operands[0])):
        raise UsageError(
            "list-and-inputs",
            f"--files-from: only the folder of its files can be an input, not '{operands[-1]}'",
            "add that file to the list",
        )
    return operands[0] if operands else "."


def _add_listed(path: str, base: str, walk: "_Walk") -> None:
    """A listed path below the folder of the list or, if it is not there, as it stands."""
    if os.path.lexists(below := os.path.join(base, path)) or not os.path.lexists(path):
        path = os.path.normpath(below)
    name = os.path.relpath(path, base)
    if name.split(os.sep, 1)[0] == os.pardir:
        where = "the current folder" if base == "." else f"'{base}'"
        raise UsageError(
            "not-below",
            f"--files-from: '{path}' is not below {where}",
            "name the folder that holds the files: dropcli apply FOLDER --files-from LIST ...",
        )
    if os.path.isdir(path):
        walk.folder(path, "" if name == "." else name)
    else:
        walk.file(path, name)


class _Walk:
    """Collects files, from folders and one by one."""

    def __init__(self, left_out: Identity | None) -> None:
        self.found = Found()
        self._left_out = left_out

    def file(self, path: str, name: str) -> None:
        """One file that was named, of whatever suffix."""
        if path == STDIN:
            raise UsageError("standard-input", "`-` cannot be one of several inputs")
        self.found.inputs.append(Input(path, name))

    def is_output(self, path: str) -> bool:
        """Whether a path lies in the output folder."""
        if not self._left_out:
            return False
        above = os.path.dirname(os.path.realpath(path))
        while identity(above) != self._left_out:
            if above == (above := os.path.dirname(above)):
                return False
        return True

    def folder(self, top: str, prefix: str) -> None:
        """All files below a folder; links are followed, but not into a folder they lie in."""
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

    def _entries(self, path: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Add the files of one folder, and give its folders."""
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = os.path.join(prefix, entry.name)
                if _is_folder(entry):
                    yield entry.path, name
                else:
                    self.sort(Input(entry.path, name), _is_file(entry))

    def sort(self, item: Input, is_file: bool) -> None:
        """Count a file to those with tensors, or to the others."""
        name = os.path.basename(item.name)
        if is_file and (_has_tensors(name) or _holds_tensors(item.path)):
            self.found.inputs.append(item)
        elif not (is_journal(name) or is_temporary(name)):
            self.found.others.append(item)


def _has_tensors(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in TENSOR_SUFFIXES


def _holds_tensors(path: str) -> bool:
    """Whether a file of a name that others have too holds tensors."""
    name = os.path.basename(path).lower()
    if PurePath(name).suffix not in _SHARED_SUFFIXES and not name.endswith(_TARS):
        return False
    if is_journal(name) or not os.path.isfile(path):
        return False
    from dropcli.formats import is_tensor_file  # slow to import

    return is_tensor_file(path)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle, or a folder that may not be read
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether to open it; a link that leads nowhere fails then, and says so."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True
