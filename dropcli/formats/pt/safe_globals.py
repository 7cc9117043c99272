"""Judge the names in a pickle: known data, classes of other packages, or programs.

Nothing that a pickle names is imported here, but the output contains the pickle, and others will
load it: a hidden program must not be passed on. So known names are listed one by one, functions
are refused, and classes of other packages are copied with a warning.
"""

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from dropcli.errors import FormatError
from dropcli.formats.pt.stdlib_names import STDLIB_NAMES
from dropcli.formats.pt.unpickle import Global

_CLASS = re.compile(r"[A-Z]\w*")
_TORCH_CLASS = re.compile(r"_?[A-Z]\w*")
_EXCEPTION = re.compile(r"[A-Z]\w*(Error|Exception|Warning)")
_QUALIFIED_CLASS = re.compile(r"_?[A-Z]\w*(\._?[A-Z]\w*)*")
_DTYPE = re.compile(
    r"q?u?int\d+(x\d+)?|float\d+\w*|bfloat16|complex\d+|bool_?|bits\d\w*|(str|bytes|object)_"
)

_BUILTINS = {
    *("set", "frozenset", "bytearray", "bytes", "complex", "slice", "range", "list", "dict"),
    *("tuple", "str", "int", "float", "bool", "object", "type", "Ellipsis", "NotImplemented"),
}
# Functions and classes with which torch, numpy and Python pickle data.
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
    "torch._dynamo.decorators": {"_DimRange"},  # in jagged tensors
    "numpy": {"ndarray", "dtype", "recarray", "record", "matrix", "void"},
    "numpy.ma.core": {"_mareconstruct"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "array": {"array", "_array_reconstructor"},
    "functools": {"partial"},  # its function is named, and judged, too
    "operator": {"itemgetter"},
    "re": {"_compile"},
    "logging": {"getLogger"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "types": {"SimpleNamespace"},
    "_io": {"BytesIO", "StringIO"},
    "io": {"BytesIO", "StringIO"},
    "builtins": _BUILTINS,
}
# Modules of Python and numpy whose classes only hold data.
_DATA_MODULES = {
    *("argparse", "collections", "collections.abc", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "ipaddress", "numbers", "pathlib", "pathlib._local", "random", "re", "string"),
    *("typing", "uuid", "weakref", "zoneinfo", "numpy.dtypes"),
}
# Modules of torch whose classes and functions are parts of saved models and datasets.
_TORCH_CLASSES = ("torch.nn.", "torch.utils.data.", "torch.optim.", "torch.distributions.")
_TORCH_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")
_TORCH_PROGRAMS = ("torch.hub", "torch.jit", "torch.package", "torch.utils.cpp_extension")
_GETATTR = Global("builtins", "getattr")
_LOADERS = {"pip", "setuptools", "distutils", "cloudpickle", "dill"}


def check_globals(names: list[Global]) -> list[str]:
    """The classes of other packages among these names; FormatError for a program."""
    unknown = []
    for name in map(_in_python_3, names):
        if _is_known(name):
            continue
        if name == _GETATTR:
            raise FormatError(
                "program-in-data",
                "its pickle calls getattr, which can reach any function",
                "where you trust it, load it with torch and save only its tensors",
            )
        if not _may_be_data(name):
            raise FormatError(
                "program-in-data",
                f"its pickle could run code: it names {name}",
                "do not load this file with anything that runs pickles",
            )
        unknown.append(str(name))
    return unknown


def _in_python_3(name: Global) -> Global:
    """The name that Python 3 looks up instead: `pickle` maps names of Python 2."""
    if renamed := NAME_MAPPING.get((name.module, name.name)):
        return Global(*renamed)
    return Global(IMPORT_MAPPING.get(name.module, name.module), name.name)


def _is_known(name: Global) -> bool:
    if name.name in _KNOWN.get(name.module, ()):
        return True
    if name.module in ("torch", "numpy") and _DTYPE.fullmatch(name.name):
        return True
    if name.module == "torch":
        return re.fullmatch(r"[A-Z]\w*Storage", name.name) is not None
    if name.module == "builtins":
        return _EXCEPTION.fullmatch(name.name) is not None
    if name.module == "torch._utils":
        return name.name.startswith("_rebuild_")
    if name.module.startswith("numpy.random."):
        return re.fullmatch(r"__pyx_unpickle_\w+|[A-Z]\w*|__\w+_ctor", name.name) is not None
    if name.module in _TORCH_FUNCTIONS:
        return name.name.isidentifier()
    if name.module.startswith(_TORCH_CLASSES):
        return _TORCH_CLASS.fullmatch(name.name) is not None
    return name.module in _DATA_MODULES and _CLASS.fullmatch(name.name) is not None


def _may_be_data(name: Global) -> bool:
    """Whether an unknown name can be a class rather than a program."""
    top = name.module.partition(".")[0]
    if top in ("torch", "numpy"):
        return _CLASS.fullmatch(name.name) is not None and not name.module.startswith(
            _TORCH_PROGRAMS
        )
    if top in STDLIB_NAMES or top in _LOADERS or not top:
        return False
    # Protocol 4 resolves dotted names attribute by attribute: allow only nested classes.
    return "." not in name.name or _QUALIFIED_CLASS.fullmatch(name.name) is not None
