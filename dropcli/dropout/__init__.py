"""The settings, and what they make of elements."""

from dropcli.dropout.checks import Range, whole_number
from dropcli.dropout.kernels import Kernel, fixed_kernel, kernel_for
from dropcli.dropout.over import Axis, Over, cells_of, grid_of
from dropcli.dropout.rounding import Array, Keep, Raw, Share
from dropcli.dropout.selection import (
    Selection,
    check_dtype,
    check_exact,
    in_tensor,
    nothing_selected,
    select,
)
from dropcli.dropout.settings import (
    ArraySettings,
    Dropout,
    MaskSettings,
    Settings,
    check_torch_input,
    torch_version,
)

__all__ = [
    "Array",
    "ArraySettings",
    "Axis",
    "Dropout",
    "Keep",
    "Kernel",
    "MaskSettings",
    "Over",
    "Range",
    "Raw",
    "Selection",
    "Settings",
    "Share",
    "cells_of",
    "check_dtype",
    "check_exact",
    "check_torch_input",
    "fixed_kernel",
    "grid_of",
    "in_tensor",
    "kernel_for",
    "nothing_selected",
    "select",
    "torch_version",
    "whole_number",
]
