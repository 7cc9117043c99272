"""The settings, and what they make of elements."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dropcli.dropout.over import MODES, Axis, Over, grid_of, shape_text

if TYPE_CHECKING:
    from dropcli.dropout.checks import Range, whole_number
    from dropcli.dropout.kernels import Kernel, fixed_kernel, kernel_for
    from dropcli.dropout.rounding import Array, Keep, Raw, Share
    from dropcli.dropout.selection import (
        Selection,
        check_dtype,
        check_exact,
        in_tensor,
        nothing_selected,
        select,
        shell_pattern,
    )
    from dropcli.dropout.settings import (
        ArraySettings,
        Dropout,
        MaskSettings,
        Settings,
        check_torch_input,
        torch_version,
    )

_NAMES = {
    "checks": ("Range", "whole_number"),
    "kernels": ("Kernel", "fixed_kernel", "kernel_for"),
    "rounding": ("Array", "Keep", "Raw", "Share"),
    "selection": (
        "Selection",
        "check_dtype",
        "check_exact",
        "in_tensor",
        "nothing_selected",
        "select",
        "shell_pattern",
    ),
    "settings": (
        "ArraySettings",
        "Dropout",
        "MaskSettings",
        "Settings",
        "check_torch_input",
        "torch_version",
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "MODES",
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
    "check_dtype",
    "check_exact",
    "check_torch_input",
    "fixed_kernel",
    "grid_of",
    "in_tensor",
    "kernel_for",
    "nothing_selected",
    "select",
    "shape_text",
    "shell_pattern",
    "torch_version",
    "whole_number",
]


def __getattr__(name: str) -> Any:
    """All but the dimensions comes with numpy, which `dropcli --help` does without."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
