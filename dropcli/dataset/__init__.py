"""Many files: find them, plan, run, resume, verify."""

from dropcli.dataset.apply import Dataset, SingleFile, prepare
from dropcli.dataset.discover import is_several, read_list, tensor_files
from dropcli.dataset.journal import Shard
from dropcli.dataset.plan import Request
from dropcli.dataset.request import choose_output
from dropcli.dataset.tally import Tally
from dropcli.dataset.verify import Verdict, verify_outputs

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
    "read_list",
    "tensor_files",
    "verify_outputs",
]
