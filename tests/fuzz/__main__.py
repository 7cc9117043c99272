"""Run cases by their numbers, and stop at the first that breaks a promise.

    python -m tests.fuzz --cases 1000000 --seed 1
    python -m tests.fuzz --seed 1 --first 4711 --cases 1

The cases are the same for a seed, whatever the machine. One that breaks a promise is saved.
"""

import argparse
import faulthandler
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.cases import Case, make
from tests.fuzz.judge import Judge, quick_commands

_OFTEN = 50_000  # cases between figures
_MOST_MEMORY = 2 << 30  # bytes beyond what torch takes to begin with


def main() -> int:
    """Print the figures; 1 if a promise was broken."""
    options = _options()
    faulthandler.enable()
    _limit_memory()
    home = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=options.folder))
    codes: Counter[tuple[str, int]] = Counter()
    started = time.monotonic()
    with quick_commands():
        judge = Judge(folder)
        for number in range(options.first, options.first + options.cases):
            case = make(options.seed, number)
            if sum(codes.values()) % _OFTEN == _OFTEN - 1:
                _figures(codes, judge, time.monotonic() - started)
            try:
                codes[case.command, judge.judge(case)] += 1
            except BaseException as error:
                _save(case, home / f"broken-{options.seed}-{number}")
                print(f"case {number} of seed {options.seed}, from '{case.sample}':", error)
                print(f"  dropcli {case.command} {case.name} {' '.join(case.options)}")
                if isinstance(error, AssertionError):
                    return 1
                raise
    _figures(codes, judge, time.monotonic() - started)
    shutil.rmtree(folder)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many; 2,000 unless told")
    parser.add_argument("--seed", type=int, default=1, help="of all cases; a case is its number's")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    parser.add_argument("--folder", default=memory, help="where the files are written")
    options = parser.parse_args()
    if options.cases < 1:
        parser.error("--cases: expected 1 or more")
    return options


def _limit_memory() -> None:
    """Of what is written to; maps of files that are all hole cost nothing."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + _MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _save(case: Case, path: Path) -> None:
    saved = path.with_name(f"{path.name}-{case.name}")
    saved.write_bytes(case.data)
    print(f"saved as {saved.name}")


def _figures(codes: Counter[tuple[str, int]], judge: Judge, seconds: float) -> None:
    total = sum(codes.values())
    print(f"{total:,} cases in {seconds:,.0f} s, {total / seconds:,.0f} a second, none broken")
    for command in sorted({command for command, _ in codes}):
        counts = [f"{n:,} exit {code}" for (c, code), n in sorted(codes.items()) if c == command]
        print(f"  {command:8}", ", ".join(counts))
    for name, count in sorted(judge.differences.items()):
        print(f"  accepted where torch refuses, by {name}: {count:,}")
    slowest, case = judge.slowest
    print(f"slowest: {1000 * slowest:,.0f} ms, case {case.number if case else '?'}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory {memory:,} MB, torch included", flush=True)


if __name__ == "__main__":
    sys.exit(main())
