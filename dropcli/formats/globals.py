"""Which names in a pickle are known, which are strangers, and which have no place in data.

Nothing a pickle names is ever imported here, but the output carries the pickle on to whoever
loads it: programs that hide in one are not passed on.
"""

import sys

from dropcli.errors import FormatError
from dropcli.formats.pickles import Global

# Modules of the standard library whose classes people keep in data; `builtins` by name.
_HARMLESS = {
    "_codecs",
    "argparse",
    "array",
    "collections",
    "copyreg",
    "copy_reg",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "pathlib",
    "uuid",
    "zoneinfo",
}
_BUILTINS = {
    *("set", "frozenset", "bytearray", "bytes", "complex", "slice", "range", "list", "dict"),
    *("tuple", "str", "int", "float", "bool", "object", "long", "unicode", "xrange"),
}
# Of torch and numpy, what rebuilds data; the rest of them can do much else.
_KNOWN = (
    *("torch._utils.", "torch._tensor.", "torch.storage.", "torch.nn.", "torch.utils.data."),
    *("numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.core.numeric."),
    *("numpy._core.numeric.", "collections.", "torch.jit._pickle."),
)
_LOADERS = ("torch.hub", "torch.load", "torch.serialization.load", "torch.package", "numpy.load")


def check_globals(names: list[Global]) -> list[str]:
    """The strangers among these names, as text; FormatError for programs."""
    strangers = []
    for name in names:
        if _is_program(name):
            raise FormatError(
                "program-in-data",
                f"expected data, got a pickle that would call {name}",
                "do not load this file with anything that runs pickles",
            )
        if not _is_known(name):
            strangers.append(str(name))
    return strangers


def _is_program(name: Global) -> bool:
    top = name.module.partition(".")[0]
    if top in ("builtins", "__builtin__"):
        return name.name not in _BUILTINS
    if str(name).startswith(_LOADERS):
        return True
    if str(name) == "types.SimpleNamespace":
        return False
    return name.module not in _HARMLESS and (top in sys.stdlib_module_names or not top)


def _is_known(name: Global) -> bool:
    top = name.module.partition(".")[0]
    if top == "torch" and name.module == "torch":
        return True  # storage classes, dtypes, Size and device
    if top == "numpy":
        return name.module == "numpy" or str(name).startswith(_KNOWN)
    return top in _HARMLESS | {"builtins", "__builtin__"} or str(name).startswith(_KNOWN)
