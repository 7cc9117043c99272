"""What must hold of a run, whatever the file is.

The exit code is one of the table, the message one line, nothing is written on failure and no
temporary file left, memory and time are bounded; and what safetensors or torch refuse is refused.
"""

import contextlib
import io
import os
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dropcli.cli import main
from tests.conftest import redirected
from tests.fuzz.cases import Case
from tests.fuzz.oracles import documented, read, same_tensors
from tests.fuzz.samples import samples

_CODES = {"apply": {0, 1}, "piped": {0, 1}, "convert": {0, 1}, "info": {0, 1}, "verify": {0, 1, 4}}
_LINES = re.compile(r"error: [^\n]+\n(hint: [^\n]+\n)?")
_MOST_SECONDS = 10.0  # for files of a few kilobytes, on a machine that does much else
_MOST_GROWTH = 200 << 10  # kilobytes


class Broken(AssertionError):
    """A promise that was not kept."""


@contextlib.contextmanager
def quick_commands() -> Iterator[None]:
    """Without what a million runs need not do: waiting for the disk."""
    fsync, os.fsync = os.fsync, lambda fd: None
    try:
        yield
    finally:
        os.fsync = fsync


class Judge:
    """Runs cases in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.differences: Counter[str] = Counter()  # that are documented
        self.slowest: tuple[float, Case | None] = (0.0, None)
        for name, data in samples().items():
            (folder / name).write_bytes(data)
        tempfile.tempdir = str(folder / "scratch")
        os.mkdir(tempfile.tempdir)
        os.chdir(folder)
        self._there = set(os.listdir())

    def judge(self, case: Case) -> int:
        """The exit code; Broken if a promise is not kept."""
        Path(case.name).write_bytes(case.data)
        output = _output(case)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        code, out, err = _run(case, output)
        seconds = time.perf_counter() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        self.slowest = max(self.slowest, (seconds, case), key=lambda pair: pair[0])

        said = f"exit code {code}, {out!r}, {err!r}"
        _hold(code in _CODES[case.command], f"a code of the table: {said}")
        _hold(code in (0, 4) or _LINES.fullmatch(err), f"one line: {said}")
        _hold(code not in (0, 4) or not err, f"nothing to be said: {said}")
        _hold(err.replace("\n", "").isprintable(), f"printable: {said}")
        _hold("Traceback" not in err and "bug in" not in err, f"no bug: {said}")
        _hold(
            "more memory" not in err and grown < _MOST_GROWTH, f"little memory: {grown} KB, {said}"
        )
        _hold(seconds < _MOST_SECONDS, f"little time: {seconds:.1f} s")
        _hold(not os.listdir("scratch"), "no temporary file")
        made = {output} if output and code == 0 else set()
        _hold(
            set(os.listdir()) == self._there | {case.name} | made, f"{made or 'no output'}: {said}"
        )
        if code == 0:
            self._compare(case, output)
        for name in (*made, case.name):
            os.unlink(name)
        return code

    def _compare(self, case: Case, output: str | None) -> None:
        """Hold what was accepted, and what was written, to what the libraries say of it."""
        if case.command == "verify":
            _hold(case.data == samples()[case.sample], "a difference to be found")
            return
        given = read(case.name)
        if isinstance(given, Exception):
            difference = documented(case.command, case.data, given)
            _hold(difference, f"what the library refuses to be refused: {given!r}")
            self.differences[str(difference)] += 1
        elif output:
            made = read(output)
            if isinstance(made, Exception):
                raise Broken(f"expected an output that can be read: {made!r}")
            if case.command != "convert":
                _hold(
                    same_tensors(given, made, values="--eval" in case.options), "the same tensors"
                )


def _output(case: Case) -> str | None:
    if case.command in ("info", "verify"):
        return None
    suffix = case.name.rpartition(".")[2]
    if case.command == "convert":
        suffix = {"pt": "safetensors", "safetensors": "pt"}[suffix]
    return f"output.{suffix}"


def _run(case: Case, output: str | None) -> tuple[int, str, str]:
    words = [case.name]
    if case.command == "verify":
        words += ["--source", case.sample.replace("dropped", "plain")]
    elif output:
        words = ["-"] if case.command == "piped" else words
        words += ["-o", output, "-q", "-p", "0.5", "--seed", "7", *case.options]
    command = case.command if case.command in ("info", "verify") else "apply"
    out, err = io.StringIO(), io.StringIO()
    with (
        redirected(0, case.name if case.command == "piped" else os.devnull, os.O_RDONLY),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main([command, *words])
    return code, out.getvalue(), err.getvalue()


def _hold(promise: object, text: str) -> None:
    if not promise:
        raise Broken(f"expected {text}")
