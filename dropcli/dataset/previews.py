"""The work of `dropcli preview` and `dropcli.preview`: show what `apply` would do to one file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Unpack

from dropcli.dataset.discover import discover, is_several
from dropcli.dropout import check_torch_input
from dropcli.errors import FileError, located
from dropcli.files import STDOUT, Reader, check_urls, is_piped, place_of
from dropcli.pipeline import (
    Job,
    Notice,
    Progress,
    SeededSettings,
    Writing,
    choose_settings,
    run_file,
    settings_notices,
    stream_of,
)
from dropcli.report import Preview
from dropcli.samples import look

_TENSORS = 8
_BLOCK = 1 << 20


def preview(
    operands: list[str],
    stream: str | None,
    copies: int,
    every: bool = False,
    **given: Unpack[SeededSettings],
) -> Preview:
    """Preview the first of these files: its first dropped tensors, or `every` one.

    Raises:
        DropcliError: for the same reasons as `apply`.
    """
    check_urls([*operands, given.get("like")])
    dropout, _ = choose_settings(**given)
    check_torch_input(dropout.rng, stream, copies or None)
    path, name, others = _first_of(operands)
    stream = stream or name
    writing = Writing(dry_run=True, statistics=False)
    numbers = range(1, copies + 1) if copies else range(1)
    with _at_any_position(path) as readable:
        file = run_file(Job(readable, STDOUT, stream, numbers[0], writing), dropout, Progress())
        looks = look(readable, dropout, stream, numbers, None if every else _TENSORS)
    notices = [*settings_notices(dropout), *replace(file, source=path).notices()]
    if others:
        message = f"only the first of {others + 1:,} files is shown; name another file to see it"
        notices.insert(0, Notice("first-of-several", message))
    return Preview(path, stream, dropout, file.tensors, looks, notices)


def _first_of(operands: list[str]) -> tuple[str, str, int]:
    """The path of the first file, its name in mask keys, and the number of other files."""
    if not is_several(operands):
        return operands[0], stream_of(operands[0]), 0
    found = discover(operands, None, None)
    if not found.inputs:
        if found.failures:
            raise found.failures[0]
        raise FileError("no-files", "no .safetensors or .pt files", None, operands[0])
    return found.inputs[0].path, found.inputs[0].stream, len(found.inputs) - 1


@contextmanager
def _at_any_position(path: str) -> Iterator[str]:
    """The path itself, or for a pipe the path of a temporary file with its content."""
    if not is_piped(path):
        yield path
        return
    with ExitStack() as stack, located(place_of(path)):
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        reader = stack.enter_context(closing(Reader(path)))
        while data := os.read(reader.fd, _BLOCK):
            file.write(data)
        file.flush()
        yield file.name
