"""Find the files of a dataset: walk folders, expand globs, read lists.

Each file has a name: its path below the folder that was walked. The name determines the path of
the output and the stream, so a file has the same mask alone, in its folder, and in any subset.
"""

import glob
import os
from pathlib import PurePath

from dropcli.dataset.prefixes import objects_matching
from dropcli.dataset.walk import Found, Input, Walk, has_tensors
from dropcli.errors import DropcliError, FileError, UsageError, located
from dropcli.files import STDIN, check_urls, is_folder, is_glob, is_inside, is_url, place_of


def is_several(operands: list[str]) -> bool:
    """Whether these are a folder, several files or a glob, and not one file."""
    return len(operands) != 1 or is_glob(operands[0]) or is_folder(operands[0])


def tensor_files(operands: list[str]) -> tuple[list[str], list[DropcliError]]:
    """The tensor files among these operands, for commands that only read, and the errors."""
    check_urls(operands)
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
    """The files of these operands, or the listed files, each once.

    A walk leaves out the folder `output`. If there are several folders, each keeps its own name, so
    that `data/train data/val` gives the same names as `data`. Names of listed files are relative to
    the given folder, or to the current one, as in tar and rsync.
    """
    walk = Walk(output)
    found = walk.found
    if listed is not None:
        base = _base_of_list(operands)
        for path in listed:
            _add_listed(path, base, walk)
    else:
        folders = [operand for operand in operands if _is_walked(operand)]
        for operand in operands:
            if operand in folders:
                # by its full path, because it may be given as `..`
                name = os.path.basename(os.path.abspath(operand)) if len(folders) > 1 else ""
                walk.folder(operand, name)
                found.kept_names += [name] if name else []
            elif is_glob(operand):
                _expand(operand, walk)
            else:
                walk.file(operand, os.path.basename(operand))
    found.inputs = list(dict.fromkeys(found.inputs))
    found.others = list(dict.fromkeys(found.others))
    return found


def read_list(path: str, null: bool) -> list[str]:
    """The paths in a file, or in standard input for `-`: one per line, or ended by null bytes."""
    with located(place_of(path)):
        with open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file:
            data = file.read()
        if b"\0" in data and not null:
            hint = "it is not a list of files: give it without --files-from"
            if not has_tensors(path):
                hint = "add -0"
            raise UsageError("null-bytes", "--files-from: the list holds null bytes", hint)
        return [os.fsdecode(path) for path in data.split(b"\0" if null else b"\n") if path]


def _expand(pattern: str, walk: Walk) -> None:
    """Add the matches of a glob, with names relative to its part before the first wildcard."""
    if is_url(pattern):
        walk.objects(objects_matching(pattern, walk.output))
        return
    parts = PurePath(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = os.path.join(*parts[:fixed]) if fixed else "."
    found = sorted(glob.glob(pattern, recursive=True))
    matches = [path for path in found if not walk.is_output(path)]
    if not matches:
        raise FileError("no-match", "no file matches", None, pattern)
    # `data/*` takes the same files as a walk; `data/*.bin` takes all files that it names.
    sorting = any(has_tensors(path) for path in matches)
    for path in matches:
        name = os.path.relpath(path, base)
        if os.path.isdir(path):
            if "**" not in parts:  # `**` enters folders itself
                walk.folder(path, "" if name == "." else name)
        elif sorting:
            walk.sort(Input.of(path, name), os.path.isfile(path) or not os.path.exists(path))
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


def _add_listed(path: str, base: str, walk: Walk) -> None:
    """Add a listed path below the folder of the list; if it is not there, add the path as given."""
    if is_url(base):
        url = path if is_url(path) else f"{base.rstrip('/')}/{path}"
        if not is_inside(url, base):
            raise _not_below(path, f"'{base}'")
        walk.file(url, url[len(base.rstrip("/")) + 1 :])
        return
    if os.path.lexists(below := os.path.join(base, path)) or not os.path.lexists(path):
        path = os.path.normpath(below)
    name = os.path.relpath(path, base)
    if name.split(os.sep, 1)[0] == os.pardir:
        where = "the current folder" if base == "." else f"'{base}'"
        raise _not_below(path, where)
    if os.path.isdir(path):
        walk.folder(path, "" if name == "." else name)
    else:
        walk.file(path, name)


def _not_below(path: str, where: str) -> UsageError:
    return UsageError(
        "not-below",
        f"--files-from: '{path}' is not below {where}",
        "name the folder that holds the files: dropcli apply FOLDER --files-from LIST ...",
    )


def _is_walked(operand: str) -> bool:
    return is_folder(operand) if is_url(operand) else os.path.isdir(operand)
