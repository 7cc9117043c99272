"""A Dask cluster of two worker processes, started with Dask's own commands, to be killed.

    python -m tests.dask_cluster FILE

writes the scheduler's address to FILE and ends with its standard input.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Cluster:
    """A running cluster; its workers start in a separate folder."""

    def __init__(self, workers: int = 2, path: str = "", **settings: object) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "address")
        variables = {f"DASK_DISTRIBUTED__{key}": str(value) for key, value in settings.items()}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (path, str(ROOT))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.dask_cluster", str(file), str(workers)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env={**os.environ, **variables},
        )
        while not file.exists():
            assert self.process.poll() is None
            time.sleep(0.05)
        self.address = file.read_text()

    def workers(self) -> list[int]:
        """The current worker processes."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = status.with_name("cmdline").read_bytes()
                if parent == self.process.pid and b"spawn_main" in command:
                    found.append(int(status.parent.name))
        return sorted(found)

    def kill(self) -> None:
        """Kill the scheduler; its workers end when they notice."""
        workers = self.workers()
        self.process.kill()
        self.process.communicate()
        for worker in workers:  # which may be writing a file
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def close(self) -> None:
        self.process.communicate()
        self._folder.cleanup()


@contextmanager
def cluster(workers: int = 2, path: str = "", **settings: object) -> Iterator[Cluster]:
    """A cluster inside the block; its Python searches `path` first."""
    made = Cluster(workers, path, **settings)
    try:
        yield made
    finally:
        made.close()


def main(file: str, workers: int) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as started:
        Path(f"{file}.new").write_text(started.scheduler_address)
        os.rename(f"{file}.new", file)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
