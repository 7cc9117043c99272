"""python -m tests.stores.speed [--mebibytes N] [--rounds N] [--delay MILLISECONDS ...]

Drops an object into another, and in turn copies it down and up again with a loop of obstore alone,
on one server, without delay and at a round trip of 60 ms. Prints medians, their ratio, and the peak
memory; the exit code is 1 if the ratio is over 1.6 or the memory over 250 MB.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from tests.benchmarks.measure import launch
from tests.builders import pack
from tests.stores.server import BUCKET, Store, program, running, settings

RATIO, MEMORY = 1.6, 250_000_000
P = ("-p", "0.3", "--seed", "7")
PART = 16 << 20  # bytes of random numbers, which are repeated


def main() -> int:
    usage, _, text = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(usage=usage, description=text)
    parser.add_argument("--mebibytes", type=int, default=1024, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--delay", type=int, nargs="*", default=[0, 60], metavar="MILLISECONDS")
    options = parser.parse_args()
    weed = program()
    if weed is None:
        parser.error("there is no `weed`, which the extra test-remote installs")
    codes = []
    for delay in options.delay:  # each on a new server: servers keep the space of deleted objects
        with TemporaryDirectory(prefix="speed") as folder, running(weed, Path(folder)) as host:
            store = Store(host, "speed")
            put(store, Path(folder, "x.safetensors"), options.mebibytes)
            codes.append(compare(store, delay, options.rounds))
    return max(codes)


def compare(store: Store, delay: int, rounds: int) -> int:
    """Run both in turn, after a round that is not counted."""
    source = f"{store.url}/x.safetensors"
    ours = ["dropcli", "apply", source, "-o", f"{store.url}/y.safetensors", *P, "-q"]
    peer = [
        sys.executable,
        str(Path(__file__).with_name("obstore_copy.py")),
        source,
        f"{store.url}/z",
    ]
    runs = []
    with delayed(store, delay) as endpoint:
        os.environ.update(settings(endpoint))
        for _ in range(rounds + 1):
            pair = []
            for command in (ours, peer):
                pair.append(launch(command))
                for key in ("y.safetensors", "z"):
                    store.delete(key)
            runs.append(pair)
            print(f"{pair[0].seconds:.2f} s, {pair[1].seconds:.2f} s", file=sys.stderr)
    one, two = (median(run.seconds for run in side) for side in zip(*runs[1:], strict=True))
    memory = max(run[0].peak for run in runs)
    print(
        f"{delay} ms: dropcli {one:.2f} s, obstore {two:.2f} s, ratio {one / two:.2f}, "
        f"peak memory {memory / 1e6:.0f} MB",
        flush=True,
    )
    return int(one / two > RATIO or memory > MEMORY)


@contextmanager
def delayed(store: Store, milliseconds: int) -> Iterator[str]:
    """The endpoint of the store at that round trip."""
    if not milliseconds:
        yield store.endpoint
        return
    command = [sys.executable, "-m", "tests.stores.proxy", str(store.port), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def put(store: Store, path: Path, mebibytes: int) -> None:
    """An object of one tensor of normally distributed numbers."""
    numbers = np.random.default_rng(0).standard_normal(PART // 4, np.float32).tobytes()
    parts = -(-(mebibytes << 20) // PART)
    tensor = {"dtype": "F32", "shape": [parts, PART // 4], "data_offsets": [0, parts * PART]}
    with open(path, "wb") as file:
        file.write(pack({"x": tensor}))
        for _ in range(parts):
            file.write(numbers)
    store.client.upload_file(str(path), BUCKET, f"{store.prefix}/{path.name}")
    path.unlink()


if __name__ == "__main__":
    sys.exit(main())
