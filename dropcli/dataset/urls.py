"""URLs among paths, which only pipes can read and write."""

import os
import shlex
from collections.abc import Iterable

from dropcli.errors import UsageError

_READERS = {
    "s3": "aws s3 cp {source} -",
    "gs": "gcloud storage cat {source}",
    **dict.fromkeys(("http", "https"), "curl -L {source}"),
}
_WRITERS = {"s3": "aws s3 cp - {target}", "gs": "gcloud storage cp - {target}"}


def check_local(inputs: Iterable[str], output: str | None = None, *, piped: bool = True) -> None:
    """UsageError for a URL, with the pipe that does the same if there is one."""
    source = next(filter(_scheme, inputs), "")
    target = output if output and _scheme(output) else ""
    if source or target:
        steps = [f"dropcli apply {'-' if source else 'INPUT'} -o {'-' if target else 'OUTPUT'}"]
        if source:
            steps = [_READERS.get(_scheme(source), ""), f"{steps[0]} --stream NAME"]
        if target:
            steps.append(_WRITERS.get(_scheme(target), ""))
        pipe = " | ".join(steps).format(source=shlex.quote(source), target=shlex.quote(target))
        hint = (
            f"use a pipe: {pipe}" if piped and all(steps) else "copy the files with another program"
        )
        raise UsageError("url", "URLs cannot be read or written directly", hint, source or target)


def _scheme(path: str) -> str:
    """The scheme of a URL, "" for a path."""
    scheme, separator, rest = path.partition("://")
    is_url = separator and rest and scheme.isalnum() and not os.path.lexists(path)
    return scheme if is_url else ""
