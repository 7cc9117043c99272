"""Many files: find them, plan, run, resume, verify."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcli.dataset.apply import Dataset, SingleFile, prepare
    from dropcli.dataset.discover import has_many, read_list
    from dropcli.dataset.plan import Request
    from dropcli.dataset.request import choose_output
    from dropcli.dataset.tally import Tally
    from dropcli.dataset.verify import Verdict, verify_outputs

WORKER_MODULE = f"{__name__}.tasks"  # what worker processes run, by name: importing it takes time

_NAMES = {
    "apply": ("Dataset", "SingleFile", "prepare"),
    "discover": ("has_many", "read_list"),
    "plan": ("Request",),
    "request": ("choose_output",),
    "tally": ("Tally",),
    "verify": ("Verdict", "verify_outputs"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "WORKER_MODULE",
    "Dataset",
    "Request",
    "SingleFile",
    "Tally",
    "Verdict",
    "choose_output",
    "has_many",
    "prepare",
    "read_list",
    "verify_outputs",
]


def __getattr__(name: str) -> Any:
    """Finding files comes before the rest, while worker processes start."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
