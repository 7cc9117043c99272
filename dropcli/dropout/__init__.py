"""The settings of dropout, the tensors they select, and the arithmetic of elements."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dropcli.dropout.over import MODES as MODES
from dropcli.dropout.over import Axis as Axis
from dropcli.dropout.over import Over as Over
from dropcli.dropout.over import grid_of as grid_of
from dropcli.dropout.over import shape_text as shape_text

if TYPE_CHECKING:
    from dropcli.dropout.checks import Range as Range
    from dropcli.dropout.checks import whole_number as whole_number
    from dropcli.dropout.kernels import Kernel as Kernel
    from dropcli.dropout.kernels import fixed_kernel as fixed_kernel
    from dropcli.dropout.kernels import kernel_for as kernel_for
    from dropcli.dropout.kernels import reader_for as reader_for
    from dropcli.dropout.rounding import Array as Array
    from dropcli.dropout.rounding import Keep as Keep
    from dropcli.dropout.rounding import Raw as Raw
    from dropcli.dropout.rounding import Share as Share
    from dropcli.dropout.selection import LEAVE_OUT as LEAVE_OUT
    from dropcli.dropout.selection import Selection as Selection
    from dropcli.dropout.selection import check_dtype as check_dtype
    from dropcli.dropout.selection import check_exact as check_exact
    from dropcli.dropout.selection import in_tensor as in_tensor
    from dropcli.dropout.selection import kept_note as kept_note
    from dropcli.dropout.selection import nothing_selected as nothing_selected
    from dropcli.dropout.selection import select as select
    from dropcli.dropout.selection import shell_pattern as shell_pattern
    from dropcli.dropout.selection import why_copied as why_copied
    from dropcli.dropout.settings import ArraySettings as ArraySettings
    from dropcli.dropout.settings import Dropout as Dropout
    from dropcli.dropout.settings import FileSettings as FileSettings
    from dropcli.dropout.settings import MaskSettings as MaskSettings
    from dropcli.dropout.settings import Settings as Settings
    from dropcli.dropout.settings import check_torch_input as check_torch_input
    from dropcli.dropout.settings import torch_version as torch_version

_NAMES = {
    "checks": "Range whole_number",
    "kernels": "Kernel fixed_kernel kernel_for reader_for",
    "rounding": "Array Keep Raw Share",
    "selection": "LEAVE_OUT Selection check_dtype check_exact in_tensor kept_note nothing_selected "
    "select shell_pattern why_copied",
    "settings": "ArraySettings Dropout FileSettings MaskSettings Settings check_torch_input "
    "torch_version",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import on first use what needs numpy: `dropcli --help` does not."""
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
