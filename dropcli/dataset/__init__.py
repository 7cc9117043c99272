"""Many files: find them, plan, run, resume, verify."""

from dropcli.dataset.apply import Dataset, SingleFile, prepare
from dropcli.dataset.discover import read_list
from dropcli.dataset.plan import Request
from dropcli.dataset.request import choose_output
from dropcli.dataset.tally import Tally
from dropcli.dataset.verify import Verdict, verify_outputs

__all__ = [
    "Dataset",
    "Request",
    "SingleFile",
    "Tally",
    "Verdict",
    "choose_output",
    "prepare",
    "read_list",
    "verify_outputs",
]
