"""Threads, worker processes and signals."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from dropcli.errors import FileError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from dropcli.parallel import signals as signals
    from dropcli.parallel.engines import Engine as Engine
    from dropcli.parallel.engines import Work as Work
    from dropcli.parallel.futures import Pool as Pool
    from dropcli.parallel.threads import Inline as Inline
    from dropcli.parallel.threads import Threads as Threads
    from dropcli.parallel.threads import usable_cores as usable_cores

_SHORT_TASKS = 100
_SHORT_BYTES = 64 << 20
_OPEN_FILES, _FEWEST_OPEN_FILES = 1024, 64

T = TypeVar("T")
R = TypeVar("R")


def choose_engine(
    work: "Work[T, R]", sizes: Sequence[int], jobs: int | None, pool: "Pool | None" = None
) -> "Engine[T, R]":
    """Choose worker processes, or this process if it finishes before they would have started.

    `sizes` are those of the tasks in bytes. `jobs` is the number of workers, None for one per core
    if there is enough work. `pool` has workers to use instead.

    Raises:
        FileError: too few files may be open at once.
    """
    _allow_open_files()
    if pool and sizes:
        from dropcli.parallel.futures import Futures

        return Futures(work, pool)
    from dropcli.parallel.engines import Serial
    from dropcli.parallel.threads import usable_cores

    if jobs is None:
        short = len(sizes) < _SHORT_TASKS and sum(sizes) < _SHORT_BYTES
        jobs = 1 if short else usable_cores()
    jobs = min(jobs, len(sizes))
    if jobs < 2:
        return Serial(work)
    from dropcli.parallel.processes import Processes  # slow to import, and rarely needed

    return Processes(work, jobs)


@contextmanager
def workers_of(executor: "Executor | None", scheduler: str | None) -> "Iterator[Pool | None]":
    """The workers of an executor, or of the Dask scheduler at an address; None without either."""
    if scheduler is not None:
        from dropcli.parallel.cluster import connected

        with connected(scheduler) as pool:
            yield pool
    elif executor is not None:
        from dropcli.parallel.futures import Pool

        yield Pool(executor)
    else:
        yield None


def _allow_open_files() -> None:
    """Raise the limit of open files: macOS has 256, and groups of files and workers need more."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if 0 <= hard < _FEWEST_OPEN_FILES:
        message = f"the limit is {hard} open files, but a dataset needs {_FEWEST_OPEN_FILES}"
        raise FileError("open-files", message, "ulimit -n 1024")


def open_file_limit() -> int:
    """The number of files that this process may have open at once, at most a million."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else min(soft, 1_000_000)


_MODULES = {
    **dict.fromkeys(("Engine", "Work"), "engines"),
    "Pool": "futures",
    **dict.fromkeys(("Inline", "Threads", "usable_cores"), "threads"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command imports `signals` first, and pools are slow to import."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
