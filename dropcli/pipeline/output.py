"""Where an output goes and how it is written, settled before the first byte."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

from dropcli.errors import STDOUT_NAME, FileError, UsageError, located
from dropcli.files import (
    STDIN,
    STDOUT,
    Output,
    Transaction,
    check_destination,
    foresee_destination,
    is_piped,
    make_folders,
    publish,
    same_file,
)


@dataclass(frozen=True, slots=True)
class Writing:
    """How outputs are written: the same for all jobs of a run.

    `concat` are the copies to write into one file, 0 the untouched one.
    """

    in_place: bool = False
    force: bool = False
    provenance: bool = True
    dry_run: bool = False
    concat: tuple[int, ...] = ()
    statistics: bool = True
    make_folder: bool = False  # of a single output, if it is not there
    in_dataset: bool = False

    @property
    def in_folder(self) -> bool:
        """Whether folders are made, and an output with the very same bytes is ours."""
        return self.in_dataset and not self.in_place


@dataclass(frozen=True, slots=True)
class Job:
    """One application: from where to where, and under which name in the mask key."""

    source: str
    output: str
    stream: str
    copy: int = 0
    writing: Writing = Writing()


def stream_of(source: str) -> str:
    """The name of a single file in the mask key: its stem, or `-` for what is piped in."""
    # A pipe has a number for a name, which says nothing of what comes through it.
    return STDIN if is_piped(source) else PurePath(source).stem


def check_output(job: Job, size: int) -> None:
    """Find what is in the way before any work."""
    if not job.writing.in_place and same_file(job.source, job.output):
        raise UsageError(
            "same-file",
            "expected an output other than the input, got the same file",
            "replace it with --in-place instead of -o",
            STDOUT_NAME if job.output == STDOUT else job.output,
        )
    if job.output == STDOUT:
        return
    if job.writing.in_place and not job.writing.force and not os.stat(job.source).st_mode & 0o222:
        raise FileError(
            "read-only", "expected a file that may be written, got a read-only one", "add --force"
        )
    makes_folders = job.writing.in_folder or job.writing.make_folder
    if makes_folders and job.writing.dry_run:
        foresee_destination(job.output, size, replace=job.writing.force)
        return
    if makes_folders:
        with located(job.output):
            make_folders(os.path.dirname(job.output) or ".")
    elif job.writing.dry_run:  # else it is the first thing that publishing does
        check_destination(job.output, replace=job.writing.force or job.writing.in_place)


@contextmanager
def open_output(job: Job, size: int, transaction: Transaction | None) -> Iterator[Output]:
    """What takes the bytes of an output, and publishes it at the end."""
    if job.output == STDOUT:
        output = Output(sys.__stdout__.fileno() if sys.__stdout__ else 1, STDOUT_NAME)
        yield output
        output.flush()
    else:
        replace, adopt = job.writing.force or job.writing.in_place, job.writing.in_folder
        with publish(
            job.output, size=size, replace=replace, adopt=adopt, transaction=transaction
        ) as output:
            yield output
