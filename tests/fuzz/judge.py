"""Checks that apply to each case, with any file.

The exit code is one of the table, one error is said, nothing is written on failure and no
temporary file left; what safetensors or torch refuse is refused, and they read what is written.
The kernel in C and numpy make the same; so do the shards of a folder and one run.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.builders import tree
from tests.fuzz.cases import Case
from tests.fuzz.oracles import documented, read, same_tensors
from tests.fuzz.runs import Broken, Ran, hold, run, without_kernel
from tests.fuzz.samples import samples
from tests.fuzz.tally import Tally

_CODES = {"info": {0, 1}, "verify": {0, 1, 4}}
_SOUND = "plain.safetensors"  # is in the folder with the case if the input is a folder


class Judge:
    """Runs cases in a separate folder; `tally` has the results."""

    def __init__(self, folder: Path) -> None:
        self.tally = Tally()
        for name, data in samples().items():
            (folder / name).write_bytes(data)
        tempfile.tempdir = str(folder / "scratch")
        os.mkdir(tempfile.tempdir)
        os.chdir(folder)
        self._there = set(os.listdir())

    def judge(self, case: Case) -> int:
        """Return the exit code. Raises Broken if a promise is not kept."""
        Path(case.name).write_bytes(case.data)
        output = _output(case)
        ran = run(_words(case, output), case.name if case.command == "piped" else os.devnull)
        ran.hold(ran.code in _CODES.get(case.command, {0, 1}), "a code of the table")
        ran.hold(ran.err.count("error: ") < 2, "one error")
        made = {output} if output and ran.code == 0 else set()
        there = self._there | {case.name} | made
        ran.hold(set(os.listdir()) == there, f"{made or 'no output'}, not {os.listdir()}")
        if more := _MORE.get(case.command):
            more(case, ran)
        hold(not os.listdir("scratch") and set(os.listdir()) == there, "no temporary file")
        if ran.code == 0:
            self._compare(case, output)
        for name in (*made, case.name):
            os.unlink(name)
        self.tally.codes[case.command, ran.code] += 1
        self.tally.slowest = max(self.tally.slowest, (ran.seconds, case.number))
        return ran.code

    def _compare(self, case: Case, output: str | None) -> None:
        """Compare accepted files and outputs with the results of the libraries."""
        if case.command == "verify":
            hold(case.data == samples()[case.sample], "a difference to be found")
            return
        given = read(case.name)
        if isinstance(given, Exception):
            difference = documented(case.command, case.data, given)
            hold(difference, f"what the library refuses to be refused: {given!r}")
            self.tally.differences[str(difference)] += 1
        elif output:
            made = read(output)
            if isinstance(made, Exception):
                raise Broken(f"expected an output that can be read: {made!r}")
            if case.command != "convert":
                values = "--eval" in case.options
                hold(same_tensors(given, made, values=values), "the same tensors")


def _output(case: Case) -> str | None:
    if case.command in ("info", "verify"):
        return None
    suffix = case.name.rpartition(".")[2]
    if case.command == "convert":
        suffix = {"pt": "safetensors", "safetensors": "pt"}[suffix]
    return f"output.{suffix}"


def _words(case: Case, output: str | None) -> list[str]:
    if case.command == "verify":
        return ["verify", case.name, "--source", case.sample.replace("dropped", "plain")]
    if output is None:
        return [case.command, case.name]
    source = "-" if case.command == "piped" else case.name
    more = ["--json"] if case.command == "kernels" else []  # with statistics
    return _apply(case, source, output, *more)


def _apply(case: Case, source: str, output: str, *more: str) -> list[str]:
    # Long options, because the parser searches short ones among all long ones first, which is slow.
    words = ["apply", source, "--output", output, "--quiet", "-p", "0.5", "--seed", "7"]
    return [*words, *more, *case.options]


def _without_kernel(case: Case, ran: Ran) -> None:
    """Check that without the kernel the bytes, the report and the error are the same."""
    output = str(_output(case))
    made = Path(output).read_bytes() if ran.code == 0 else b""
    Path(output).unlink(missing_ok=True)
    with without_kernel():
        again = run(_words(case, output))
    again.hold(_report(again) == _report(ran), f"from numpy what the kernel says, {ran!r}")
    hold(ran.code or Path(output).read_bytes() == made, "from numpy the bytes of the kernel")


def _report(ran: Ran) -> Any:
    """The document; for a failed run only the code, because messages of safetensors vary."""
    document = json.loads(ran.out)
    return document if ran.code == 0 else [error["code"] for error in document["errors"]]


def _in_shards(case: Case, ran: Ran) -> None:
    """Check that two shards of a folder with a valid file give the same as one run."""
    os.mkdir("many")
    for name in (case.name, _SOUND):
        os.link(name, f"many/{name}")
    for number in (1, 2):
        run(_apply(case, "many", "parts", "-j", "1", "--shard", f"{number}/2"))
    gathered = run(_apply(case, "many", "parts", "-j", "1", "--resume"))
    whole = run(_apply(case, "many", "whole", "-j", "1"))
    whole.hold(whole.code in (0, 1, 3), "a code of the table")
    gathered.hold(gathered.code == whole.code, f"the exit code of one run, {whole!r}")
    made, wanted = (_files(folder) for folder in ("parts", "whole"))
    whole.hold(made == wanted, "from shards the files of one run")
    if ran.code == 0 and case.name in wanted:
        alone = Path(str(_output(case))).read_bytes()
        hold(wanted[case.name] == alone, "in a folder the bytes of the file alone")
    for folder in ("many", "parts", "whole"):
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: str) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.endswith(".jsonl")}


_MORE: dict[str, Callable[[Case, Ran], None]] = {"kernels": _without_kernel, "shards": _in_shards}
