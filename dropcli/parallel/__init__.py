"""Threads, worker processes and signals."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dropcli.parallel import signals as signals
    from dropcli.parallel.engines import Engine as Engine
    from dropcli.parallel.engines import Work as Work
    from dropcli.parallel.threads import Inline as Inline
    from dropcli.parallel.threads import Threads as Threads
    from dropcli.parallel.threads import usable_cores as usable_cores

_SHORT_TASKS = 100
_SHORT_BYTES = 64 << 20

T = TypeVar("T")
R = TypeVar("R")


def choose_engine(work: "Work[T, R]", sizes: Sequence[int], jobs: int | None) -> "Engine[T, R]":
    """Worker processes, or this process where it is done before they would have started.

    `sizes` are those of the tasks, in bytes; `jobs` is the number of workers, None for one per core
    where there is enough to do.
    """
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


_MODULES = {
    **dict.fromkeys(("Engine", "Work"), "engines"),
    **dict.fromkeys(("Inline", "Threads", "usable_cores"), "threads"),
}


def __getattr__(name: str) -> Any:
    """The program imports `signals` first, and the pools, which load slowly, when it needs them."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
