"""The machine and the time of a measurement."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.data import GIB
from tests.benchmarks.measure import HERE

LIBRARIES = ("dropcli", "numpy", "safetensors", "torch")


def describe(folder: Path) -> dict[str, object]:
    """The machine, the file system of the data, and the load."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "tests.benchmarks", *sys.argv[1:]],
        "revision": _revision(),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "file_system": _file_system(folder),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def sentence(about: dict[str, object]) -> str:
    """The description as a sentence."""
    memory = int(str(about["memory"])) / GIB
    libraries = ", ".join(f"{library} {about[library]}" for library in LIBRARIES)
    return (
        f"{about['processor']}, {about['cores']} cores, {memory:.0f} GiB, {about['file_system']}, "
        f"{about['system']}, Python {about['python']}, {libraries}, "
        f"revision {about['revision']}, {about['date']}"
    )


def _revision() -> str:
    """The revision of the sources, with a plus if they were changed since."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"


def _first(path: str, field: str) -> str:
    """The first value of a field in a file of the system, if there is one."""
    if not Path(path).exists():
        return ""
    rows = (row.partition(":") for row in Path(path).read_text().splitlines())
    return next((value.strip() for name, _, value in rows if name.strip() == field), "")


def _file_system(folder: Path) -> str:
    """The type of the mount that is nearest to a folder."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    kinds = {row.split()[1]: row.split()[2] for row in mounts.read_text().splitlines()}
    above = (folder.resolve(), *folder.resolve().parents)
    return next((kinds[str(path)] for path in above if str(path) in kinds), "unknown file system")
