"""The settings, and what they make of elements."""

from dropcli.dropout.kernels import Kernel, fixed_kernel, kernel_for
from dropcli.dropout.over import Axis, Over, cells_of, grid_of
from dropcli.dropout.rounding import Array, Keep, Raw, Share
from dropcli.dropout.select import (
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
    Range,
    Settings,
    check_torch_input,
    torch_version,
    whole_number,
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
