"""Which names in a pickle are known, which are not, and which would be programs.

Nothing a pickle names is ever imported here, but the output carries the pickle on to whoever
loads it: programs that hide in one are not passed on. So names are allowed one by one, and
functions are refused where only data can be expected; unknown are the classes of other packages.
"""

import re
import sys

from dropcli.errors import FormatError
from dropcli.formats.pt.unpickle import Global

_CLASS = re.compile(r"[A-Z]\w*")
_QUALIFIED_CLASS = re.compile(r"_?[A-Z]\w*(\._?[A-Z]\w*)*")
_DTYPE = re.compile(
    r"q?u?int\d+(x\d+)?|float\d+\w*|bfloat16|complex\d+|bool_?|bits\d\w*|(str|bytes|object)_"
)

_BUILTINS = {
    *("set", "frozenset", "bytearray", "bytes", "complex", "slice", "range", "list", "dict"),
    *("tuple", "str", "int", "float", "bool", "object", "type", "Ellipsis", "NotImplemented"),
}
# Functions and classes that torch, numpy and Python themselves pickle data with.
_KNOWN = {
    "torch": {
        *("Size", "device", "Tensor", "Generator", "strided", "sparse_coo", "sparse_csr"),
        *("contiguous_format", "channels_last", "channels_last_3d", "preserve_format"),
        *("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric"),
    },
    "torch.jit._pickle": {
        *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"),
        *("build_tensor_from_id", "restore_type_tag"),
    },
    "torch._tensor": {"_rebuild_from_type_v2", "Tensor"},
    "torch.storage": {"UntypedStorage", "TypedStorage", "_UntypedStorage", "_TypedStorage"},
    "torch.serialization": {"_get_layout"},
    "torch.nested._internal.nested_tensor": {"_rebuild_njt", "NestedTensor"},
    "torch._dynamo.decorators": {"_DimRange"},  # of jagged tensors
    "numpy": {"ndarray", "dtype", "recarray", "record", "matrix", "void"},
    "numpy.ma.core": {"_mareconstruct"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "array": {"array", "_array_reconstructor"},
    "functools": {"partial"},  # of what is named, and judged, by itself
    "operator": {"itemgetter"},
    "re": {"_compile"},
    "logging": {"getLogger"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "types": {"SimpleNamespace"},
    "_io": {"BytesIO", "StringIO"},
    "io": {"BytesIO", "StringIO"},
    "builtins": _BUILTINS,
    "__builtin__": {*_BUILTINS, "long", "unicode", "xrange"},
}
# Modules of Python, and one of numpy, whose classes only hold data.
_DATA_MODULES = {
    *("argparse", "collections", "collections.abc", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "ipaddress", "numbers", "pathlib", "pathlib._local", "random", "re", "string"),
    *("typing", "uuid", "weakref", "zoneinfo", "numpy.dtypes"),
}
# Modules of torch whose classes and functions are parts of saved models and datasets.
_TORCH_CLASSES = ("torch.nn.", "torch.utils.data.", "torch.optim.", "torch.distributions.")
_TORCH_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")
_TORCH_PROGRAMS = ("torch.hub", "torch.jit", "torch.package", "torch.utils.cpp_extension")
_LOADERS = {"pip", "setuptools", "distutils", "cloudpickle", "dill"}


def check_globals(names: list[Global]) -> list[str]:
    """The classes of other packages among these names, as text; FormatError for programs."""
    unknown = []
    for name in names:
        if _is_known(name):
            continue
        if not _may_be_data(name):
            raise FormatError(
                "program-in-data",
                f"expected data, got a pickle that would call {name}",
                "do not load this file with anything that runs pickles",
            )
        unknown.append(str(name))
    return unknown


def _is_known(name: Global) -> bool:
    if name.name in _KNOWN.get(name.module, ()):
        return True
    if name.module in ("torch", "numpy") and _DTYPE.fullmatch(name.name):
        return True
    if name.module == "torch":
        return re.fullmatch(r"[A-Z]\w*Storage", name.name) is not None
    if name.module == "torch._utils":
        return name.name.startswith("_rebuild_")
    if name.module.startswith("numpy.random."):
        return re.fullmatch(r"__pyx_unpickle_\w+|[A-Z]\w*|__\w+_ctor", name.name) is not None
    if name.module in _TORCH_FUNCTIONS:
        return name.name.isidentifier()
    holds_data = name.module in _DATA_MODULES or name.module.startswith(_TORCH_CLASSES)
    return holds_data and _CLASS.fullmatch(name.name) is not None


def _may_be_data(name: Global) -> bool:
    """Whether a name that is not known can be a class, and not a program."""
    top = name.module.partition(".")[0]
    if top in ("torch", "numpy"):
        return _CLASS.fullmatch(name.name) is not None and not name.module.startswith(
            _TORCH_PROGRAMS
        )
    if top in sys.stdlib_module_names or top in _LOADERS or top in ("", "__builtin__"):
        return False
    # From protocol 4 on a dotted name is looked up attribute by attribute: of classes only.
    return "." not in name.name or _QUALIFIED_CLASS.fullmatch(name.name) is not None
