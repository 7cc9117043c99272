"""Run cases by their numbers, on all cores, and stop at the first that breaks a promise.

    python -m tests.fuzz --cases 1000000 --seed 1 --resume done.jsonl
    python -m tests.fuzz --seed 1 --first 4711 --cases 1

The cases are the same for a seed, whatever the machine. One that breaks a promise is saved.
"""

import argparse
import faulthandler
import gc
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.cases import Case, make
from tests.fuzz.judge import Judge
from tests.fuzz.runs import quick_commands
from tests.fuzz.samples import samples
from tests.fuzz.tally import Log, Tally

_BLOCK = 1000  # cases in one task of a worker
_OFTEN = 50  # blocks between two prints of the figures
_MOST_MEMORY = 2 << 30  # bytes in addition to those of torch


def main() -> int:
    """Print the figures; return 1 if a promise was broken."""
    options = _options()
    about = {"commit": _commit(), "seed": options.seed}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    try:
        log = Log(options.resume, about)
    except ValueError as error:
        sys.exit(str(error))
    samples()  # made once, for all workers
    faulthandler.enable()
    _limit_memory()
    gc.freeze()  # loaded modules have no garbage to search for
    gc.set_threshold(200_000)  # as the command does
    blocks = _blocks(options.first, options.first + options.cases)
    waiting = [block for block in blocks if (block.start, block.stop) not in log.done]
    with _folder(options.folder) as folder:
        broken = _run(options.seed, waiting, options.jobs, folder, log)
    print(*broken, sep="\n", end="\n" if broken else "", flush=True)
    return int(bool(broken))


def _run(seed: int, blocks: list[range], jobs: int, folder: Path, log: Log) -> list[str]:
    """The broken promise, if there is one."""
    started, before = time.monotonic(), sum(tally.cases for tally in log.done.values())
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, context, _begin, (folder, Path.cwd())) as pool:
        running = {pool.submit(_work, seed, block): block for block in blocks}
        done = 0
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                block = running.pop(future)
                tally, broken = future.result()
                if broken:
                    pool.shutdown(cancel_futures=True)
                    return broken
                log.add(block.start, block.stop, tally)
                done += 1
                if done % _OFTEN == 0 or not running:
                    _figures(log, before, time.monotonic() - started)
    return []


def _figures(log: Log, before: int, seconds: float) -> None:
    whole = Tally()
    for tally in log.done.values():
        whole.add(tally)
    now = whole.cases - before
    earlier = f", {before:,} of them earlier" if before else ""
    speed = f"{now / seconds:,.0f} a second, {seconds:,.0f} s"
    print(f"{whole.cases:,} cases{earlier}, none broken; {speed}")
    print(whole.text(), flush=True)


_judge: Judge
_above: Path
_home: Path


def _begin(folder: Path, home: Path) -> None:
    global _judge, _above, _home
    _above, _home = folder, home
    _judge = Judge(Path(tempfile.mkdtemp(dir=folder)))


def _work(seed: int, block: range) -> tuple[Tally, list[str]]:
    """Run a block of cases; return their tally, and the case that broke a promise."""
    tally = _judge.tally = Tally()
    with quick_commands():
        for number in block:
            case = make(seed, number)
            try:
                _judge.judge(case)
            except Exception as error:  # noqa: BLE001  # broken is broken
                saved = _save(case, _home / f"broken-{seed}-{number}")
                _begin(_above, _home)  # whatever the case has left behind
                words = f"dropcli {case.command} {case.name} {' '.join(case.options)}"
                lines = [f"case {number} of seed {seed}, from '{case.sample}': {error!r}"]
                return tally, [*lines, f"  {words}", f"  saved as {saved}"]
    tally.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return tally, []


def _save(case: Case, path: Path) -> str:
    saved = path.with_name(f"{path.name}-{case.name}")
    saved.write_bytes(case.data)
    return saved.name


def _blocks(first: int, end: int) -> list[range]:
    """Blocks begin at multiples of the block size, except the first."""
    starts = [first, *range(first - first % _BLOCK + _BLOCK, end, _BLOCK)]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], end], strict=True)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many; 2,000 unless told")
    parser.add_argument("--seed", type=int, default=1, help="of all cases; a case is its number's")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; one a core")
    parser.add_argument("--resume", type=Path, help="a file of what is done, to go on from")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    parser.add_argument("--folder", default=memory, help="where the files are written")
    options = parser.parse_args()
    if options.cases < 1:
        parser.error("--cases: 1 or more")
    return options


@contextmanager
def _folder(above: str | None) -> Iterator[Path]:
    """A new folder, which is removed at the end, except after an unexpected error."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=above))
    try:
        yield folder
    except BaseException:
        print(f"the files of cases that were running are in {folder}")
        raise
    shutil.rmtree(folder)


def _commit() -> str:
    """The commit that is tested, and whether files differ from it."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    here = Path(__file__).parent
    done = subprocess.run(describe, stdout=subprocess.PIPE, text=True, check=False, cwd=here)
    return done.stdout.strip()


def _limit_memory() -> None:
    """Limit memory for data; sparse files that are mapped do not count."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + _MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    sys.exit(main())
