"""python -m tests.benchmarks [OPTIONS] [LINE]...

Makes the data, runs each line of the table and its peer in turn, and prints times, ratios, and
peak memory. Takes a quarter of an hour and six gigabytes of disk; --quick takes some seconds.
Results are valid only on an idle machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from compileall import compile_dir
from pathlib import Path
from tempfile import TemporaryDirectory

import dropcli
from tests.benchmarks.data import Store
from tests.benchmarks.lines import lines
from tests.benchmarks.machine import describe, sentence
from tests.benchmarks.measure import Failed, alternate, resolve
from tests.benchmarks.table import Outcome, show
from tests.benchmarks.work import Line


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    title, _, text = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(usage=title, description=text)
    add = parser.add_argument
    add("lines", nargs="*", metavar="LINE", help="names of lines; all but the long ones if none")
    add("-k", metavar="PART", help="lines that have this in their names")
    add("--all", action="store_true", help="also the lines that take long")
    add("--list", action="store_true", help="only list the lines")
    add("--quick", action="store_true", help="little data, one round: to see that it works")
    add("--rounds", type=int, metavar="N", help="how often each is run (default: 5)")
    add("--data", type=Path, metavar="FOLDER", help="keep the data here (default: nowhere)")
    add("--json", type=Path, metavar="FILE", help="write a record")
    add(
        "--python",
        action="append",
        default=[],
        metavar="PYTHON",
        help="another one, for peers that this one lacks",
    )
    add("--check", action="store_true", help="exit code 1 if a budget is missed")
    options = parser.parse_args(arguments)
    names = {line.name for line in lines()}
    if unknown := set(options.lines) - names:
        parser.error(f"no such line: {', '.join(sorted(unknown))}; --list shows them")
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    if options.rounds < 1:
        parser.error("expected at least one round")
    return options


def chosen(options: argparse.Namespace) -> list[Line]:
    """The lines that are named, or all that do not take long."""
    return [
        line
        for line in lines(quick=options.quick)
        if (line.name in options.lines if options.lines else options.all or not line.long)
        and (options.k or "") in line.name
    ]


def run(line: Line, store: Store, options: argparse.Namespace) -> Outcome:
    """Measure our side and the peer, if it is installed."""
    pythons = (sys.executable, *options.python)
    sides = [resolve(side, pythons) for side in (line.ours, line.peer) if side]
    found = [side for side in sides if side]
    if len(found) < len(sides):
        return Outcome(line, problem="not installed")
    warm = not (line.once or options.quick)
    rounds = 1 if line.once else options.rounds
    try:
        ours, *peer = alternate(found, store, rounds, warm=warm, say=_say)
    except Failed as error:
        _say(f"error: {error}")
        return Outcome(line, problem="failed")
    return Outcome(line, ours, peer[0] if peer else None)


def run_all(work: list[Line], store: Store, options: argparse.Namespace) -> list[Outcome]:
    """Measure one line after the other; after Ctrl-C, return those that are done."""
    outcomes = []
    try:
        for number, line in enumerate(work, 1):
            _say(f"{number}/{len(work)} {line.name}")
            outcomes.append(run(line, store, options))
    except KeyboardInterrupt:
        _say("interrupted")
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    work = chosen(options)
    if options.list:
        for line in work:
            beside = f", beside {line.peer.who}" if line.peer else ""
            print(f"{line.name:24} {line.work}{beside}")
        return 0

    compile_dir(Path(dropcli.__file__).parent, quiet=1)  # as installers do
    with TemporaryDirectory(prefix="benchmarks") as temporary:
        folder = options.data or Path(temporary)
        about = describe(folder)
        outcomes = run_all(work, Store(folder), options)
    show(outcomes, sentence(about))
    if options.json:
        record = {"schema": 1, "machine": about, "quick": options.quick, "rounds": options.rounds}
        record["lines"] = [outcome.record for outcome in outcomes]
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if len(outcomes) < len(work):
        return 130
    failed = any(outcome.problem == "failed" for outcome in outcomes)
    missed = any(outcome.met is False for outcome in outcomes)
    return int(failed or (options.check and missed))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
