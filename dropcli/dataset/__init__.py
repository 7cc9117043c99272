"""Datasets of many files: find the files, plan, run, resume, verify."""

from typing import TYPE_CHECKING, Any

from dropcli.dataset.apply import Dataset, SingleFile, prepare
from dropcli.dataset.discover import is_several, read_list, tensor_files
from dropcli.dataset.journal import Shard
from dropcli.dataset.request import Request, choose_output
from dropcli.dataset.tally import Tally
from dropcli.dataset.verify import Verdict, verify_outputs

if TYPE_CHECKING:
    from dropcli.dataset.previews import preview

__all__ = [
    "Dataset",
    "Request",
    "Shard",
    "SingleFile",
    "Tally",
    "Verdict",
    "choose_output",
    "is_several",
    "prepare",
    "preview",
    "read_list",
    "tensor_files",
    "verify_outputs",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `apply` does not need pictures."""
    if name == "preview":
        from dropcli.dataset import previews

        return previews.preview
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
