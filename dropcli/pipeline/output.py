"""The destination of an output, how it is written, and progress."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from dropcli.errors import STDOUT_NAME, FileError, UsageError, located
from dropcli.files import (
    STDIN,
    STDOUT,
    Output,
    Transaction,
    check_destination,
    check_planned_destination,
    is_piped,
    make_folders,
    publish,
    same_file,
)


@dataclass(frozen=True, slots=True)
class Writing:
    """How outputs are written; the same for all jobs of a run.

    `concat` are the copies to write into one file; 0 is the unchanged file.
    """

    in_place: bool = False
    force: bool = False
    provenance: bool = True
    sync: bool = True
    dry_run: bool = False
    concat: tuple[int, ...] = ()
    mask: bool = False  # write the keep mask instead of the tensors
    statistics: bool = True
    sample: int = 0  # the number of elements of a tensor to sample
    make_folder: bool = False  # create the folder of a single output
    in_dataset: bool = False

    @property
    def in_folder(self) -> bool:
        """Whether folders are created, and an existing output with the same bytes is accepted."""
        return self.in_dataset and not self.in_place


class Job(NamedTuple):
    """One output: its source, its path, and its name in the mask key."""

    source: str
    output: str
    stream: str
    copy: int = 0
    writing: Writing = Writing()


class Progress:
    """Ignores progress; subclasses show it."""

    def begin(self, files: int, nbytes: int) -> None:
        """Called before the work, with the number of files and bytes."""

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        """Called regularly with the numbers since the last call."""


class BytesProgress(Progress):
    """Passes on the bytes of one of several files, whose total is known."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes

    def advance(self, *, files: int = 0, nbytes: int = 0, failed: int = 0) -> None:
        self._on_bytes(nbytes)


def stream_of(source: str) -> str:
    """The name of a single file in the mask key: its stem, or `-` for a pipe."""
    # The name of a pipe is a number, which says nothing about its content.
    return STDIN if is_piped(source) else PurePath(source).stem


def check_output(job: Job, size: int, transaction: Transaction | None) -> None:
    """Raise DropcliError, before any work, if the output cannot be written."""
    # The plan of a dataset has compared all outputs with all inputs.
    known = job.writing.in_place or job.writing.in_dataset
    if not known and same_file(job.source, job.output):
        raise UsageError(
            "same-file",
            "the output is the input itself",
            "use --in-place instead of -o to replace it",
            STDOUT_NAME if job.output == STDOUT else job.output,
        )
    if job.output == STDOUT:
        return
    if job.writing.in_place and not job.writing.force and not os.stat(job.source).st_mode & 0o222:
        raise FileError("read-only", "the file is read-only", "add --force")
    makes_folders = job.writing.in_folder or job.writing.make_folder
    if makes_folders and job.writing.dry_run:
        check_planned_destination(job.output, size, replace=job.writing.force)
        return
    if makes_folders:
        make = transaction.make_folders if transaction else make_folders
        with located(job.output):
            make(os.path.dirname(job.output) or ".")
    elif job.writing.dry_run:  # otherwise publishing checks it first
        check_destination(job.output, replace=job.writing.force or job.writing.in_place)


@contextmanager
def open_output(job: Job, size: int, transaction: Transaction | None) -> Iterator[Output]:
    """A writer for the bytes of an output, which is published at the end."""
    if job.output == STDOUT:
        output = Output(sys.__stdout__.fileno() if sys.__stdout__ else 1, STDOUT_NAME)
        yield output
        output.flush()
    else:
        replace, adopt = job.writing.force or job.writing.in_place, job.writing.in_folder
        with publish(
            job.output,
            size=size,
            replace=replace,
            adopt=adopt,
            sync=job.writing.sync,
            transaction=transaction,
        ) as output:
            yield output
