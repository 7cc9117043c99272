"""Verify outputs, in worker processes where there are many."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath

from dropcli.dataset.discover import discover
from dropcli.dataset.journal import missing_outputs
from dropcli.dataset.tasks import attempt, worker_died
from dropcli.dataset.verify.comparison import Difference
from dropcli.dataset.verify.file import Verdict, verify_file
from dropcli.dataset.walk import Input
from dropcli.errors import DropcliError, FileError, Interrupted, UsageError
from dropcli.files import check_urls, exists, is_folder, is_made_folder, is_url
from dropcli.parallel import choose_engine
from dropcli.pipeline import Progress

_CHUNK = 16  # files that a worker takes at a time
_MISSING = Difference(None, None, "it is missing, and the journal lists it")


def verify_outputs(
    outputs: list[str], source: str, jobs: int | None, progress: Progress
) -> tuple[list[Verdict], list[DropcliError]]:
    """Verify outputs; return the verdicts in order, and the errors of the others."""
    check_urls([*outputs, source])
    if _is_missing(source):
        raise UsageError("no-source", f"--source: '{source}' does not exist")
    found = discover(outputs, None, _inside(outputs, source))
    if not (found.inputs or found.failures):
        raise FileError("no-files", "no .safetensors or .pt files", None, outputs[0])
    mirrored = bool(found.folders) and is_folder(source)
    sizes = [_size_of(item) for item in found.inputs]
    progress.begin(len(sizes), sum(sizes))
    engine = choose_engine(partial(_verify_chunk, source, mirrored), sizes, jobs)
    chunks = (found.inputs[start : start + _CHUNK] for start in range(0, len(sizes), _CHUNK))
    verdicts: dict[Input, Verdict] = {}
    for item, verdict in engine.run(chunks, lambda count: progress.advance(nbytes=count)):
        verdict = verdict or Verdict(item.path, error=worker_died(item.path))
        verdicts[item] = verdict
        progress.advance(files=1, failed=int(bool(verdict.error or verdict.difference)))
    done = [verdicts[item] for item in found.inputs]
    missing = [path for folder in found.folders for path in missing_outputs(folder)]
    done += [Verdict(path, difference=_MISSING) for path in missing]
    errors = [*found.failures, *(verdict.error for verdict in done if verdict.error)]
    return [verdict for verdict in done if not verdict.error], errors


def _is_missing(source: str) -> bool:
    if is_url(source):
        is_object = not is_made_folder(source) and exists(source)
        return not (is_object or is_folder(source))
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # the error comes when it is opened
    return False


def _inside(outputs: list[str], source: str) -> str | None:
    """The source, if it is inside a folder of outputs. The walk then leaves it out.

    Raises:
        UsageError: the source is that folder.
    """
    if is_url(source):
        return None
    folders = {os.path.realpath(path): path for path in outputs if os.path.isdir(path)}
    real = os.path.realpath(source)
    if real in folders:
        raise UsageError(
            "same-folder",
            "is both the output and the source",
            "--source names the folder that the outputs were made from",
            folders[real],
        )
    return source if any(map(folders.get, map(str, PurePath(real).parents))) else None


def _size_of(item: Input) -> int:
    if item.stamp:
        return item.stamp.nbytes
    return os.path.getsize(item.path) if os.path.isfile(item.path) else 0


def _verify_chunk(
    source: str, mirrored: bool, items: Sequence[Input], on_bytes: Callable[[int], None]
) -> tuple[Sequence[Verdict], Interrupted | None]:
    """The function that an engine runs."""
    verdicts = []
    try:
        for item in items:
            found = attempt(item.path, partial(verify_file, item, source, mirrored, on_bytes))
            verdicts.append(
                found if isinstance(found, Verdict) else Verdict(item.path, error=found)
            )
    except Interrupted as stop:
        return verdicts, stop
    return verdicts, None
