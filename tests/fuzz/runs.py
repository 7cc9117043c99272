"""Runs of the command in this process, and checks that apply to each of them.

The message is of lines that are whole and printable; memory and time are bounded.
"""

import contextlib
import io
import os
import re
import resource
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dropcli.cli import main
from tests.conftest import redirected

_LINES = re.compile(r"(error: [^\n]+\n(hint: [^\n]+\n)?)*")
_MOST_SECONDS = 10.0  # of a processor, for files of a few kilobytes
_MOST_GROWTH = 200 << 10  # kilobytes


class Broken(AssertionError):
    """A promise is broken."""


class Ran(NamedTuple):
    """The result of a run."""

    code: int
    out: str
    err: str
    seconds: float

    def hold(self, promise: object, text: str) -> None:
        """Raise Broken, with all output, if this promise is not kept."""
        hold(promise, f"{text}: exit code {self.code}, {self.out!r}, {self.err!r}")


def hold(promise: object, text: str) -> None:
    """Raise Broken, with this text, if the promise is not kept."""
    if not promise:
        raise Broken(f"expected {text}")


def run(words: Sequence[str], stdin: str = os.devnull) -> Ran:
    """Run the command. Raises Broken if a check that applies to all runs fails."""
    out, err = io.StringIO(), io.StringIO()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with (
        redirected(0, stdin, os.O_RDONLY),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(words)
    ran = Ran(code, out.getvalue(), err.getvalue(), time.process_time() - started)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    said = ran.err
    ran.hold(_LINES.fullmatch(said), "errors, a line each")
    ran.hold(bool(said) == (code not in (0, 4)), "an error where it failed, and there alone")
    ran.hold(said.replace("\n", "").isprintable(), "what is printable")
    ran.hold("Traceback" not in said and "bug in" not in said, "no bug")
    ran.hold("more memory" not in said and grown < _MOST_GROWTH, f"little memory, not {grown} KB")
    ran.hold(ran.seconds < _MOST_SECONDS, f"little time, not {ran.seconds:.1f} s")
    return ran


@contextlib.contextmanager
def quick_commands() -> Iterator[None]:
    """Do not wait for the disk, which a million runs need not do."""
    fsync, os.fsync = os.fsync, lambda fd: None
    try:
        yield
    finally:
        os.fsync = fsync


@contextlib.contextmanager
def without_kernel() -> Iterator[None]:
    """Use numpy instead of the kernel in C."""
    os.environ["DROPCLI_KERNEL"] = "numpy"
    try:
        yield
    finally:
        del os.environ["DROPCLI_KERNEL"]
