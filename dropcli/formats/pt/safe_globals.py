"""Check the names in a pickle: known data, classes of other packages, or programs.

Nothing that a pickle names is imported here. But the output contains the pickle, and others will
load it, so it must not contain a hidden program. Known names are listed one by one, functions are
refused, and classes of other packages are copied with a warning.
"""

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from dropcli.errors import FormatError
from dropcli.formats.pt.records import Global
from dropcli.formats.pt.stdlib_names import STDLIB_NAMES

_CLASS = re.compile(r"[A-Z]\w*")
_TORCH_CLASS = re.compile(r"_?[A-Z]\w*")
_CORE_CLASS = re.compile(r"[A-Z]\w*(Tensor|Type|Storage)")
_EXCEPTION = re.compile(r"[A-Z]\w*(Error|Exception|Warning)")
_QUALIFIED_CLASS = re.compile(r"_?[A-Z]\w*(\._?[A-Z]\w*)*")
_DTYPE = re.compile(
    r"q?u?int\d+(x\d+)?|float\d+\w*|bfloat16|complex\d+|bool_?|bits\d\w*|(str|bytes|object)_"
)

_BUILTINS = {
    *("set", "frozenset", "bytearray", "bytes", "complex", "slice", "range", "list", "dict"),
    *("tuple", "str", "int", "float", "bool", "object", "type", "Ellipsis", "NotImplemented"),
}
# Functions and classes that torch, numpy and Python use to pickle data.
_KNOWN = {
    "torch": {
        *(
            "Size",
            "device",
            "ScriptObject",
            "Tensor",
            "Generator",
            "strided",
            "sparse_coo",
            "sparse_csr",
        ),
        *("contiguous_format", "channels_last", "channels_last_3d", "preserve_format"),
        *("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric"),
        *("per_channel_symmetric", "per_channel_affine_float_qparams"),
    },
    "torch._C": {"Generator"},
    # Functions that pickles of data loaders and gradient scalers name.
    "torch.utils.data._utils.collate": {"default_collate", "default_convert"},
    "torch.utils.data.dataloader": {"default_collate"},
    "torch.amp.grad_scaler": {"_refresh_per_optimizer_state"},
    "torch.cuda.amp.grad_scaler": {"_refresh_per_optimizer_state"},
    "torch.jit._pickle": {
        *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"),
        *("build_tensor_from_id", "restore_type_tag"),
    },
    "torch._tensor": {"_rebuild_from_type_v2", "Tensor"},
    "torch.storage": {"UntypedStorage", "TypedStorage", "_UntypedStorage", "_TypedStorage"},
    "torch.serialization": {"_get_layout"},
    "torch.nn.backends.thnn": {"_get_thnn_function_backend"},  # in modules before torch 1.2
    "torch.nested._internal.nested_tensor": {"_rebuild_njt", "NestedTensor"},
    "torch._dynamo.decorators": {"_DimRange"},  # in jagged tensors
    "numpy": {"ndarray", "dtype", "recarray", "record", "matrix", "void"},
    "numpy.rec": {"recarray", "record"},
    "numpy.core.records": {"recarray", "record"},
    "numpy._core.records": {"recarray", "record"},
    "numpy.ma": {"MaskedArray"},
    "numpy.ma.core": {"_mareconstruct", "MaskedArray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "array": {"array", "_array_reconstructor"},
    "functools": {"partial"},  # the function that it wraps is named in the pickle too, and checked
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
_TORCH_CLASSES = (
    *("torch.nn.", "torch.utils.data.", "torch.optim.", "torch.distributions.", "torch.ao."),
    *("torch.amp.", "torch.cuda.amp.", "torch.utils.hooks"),
)
_TORCH_FUNCTIONS = {
    *("torch.nn.functional", "torch._C._nn", "torch.nn.init", "torch.nn.utils.clip_grad"),
}
# They load, compile or run what they are given, whatever their names suggest.
_TORCH_PROGRAMS = (
    *("torch._dynamo", "torch._export", "torch._inductor", "torch.distributed.elastic"),
    *("torch.distributed.rpc", "torch.export", "torch.fx", "torch.hub", "torch.jit"),
    *("torch.multiprocessing", "torch.package", "torch.testing", "torch.utils._config_module"),
    *("torch.utils.cpp_extension", "torch.utils.data.datapipes", "numpy.ctypeslib"),
    *("torch.utils.benchmark", "torch.utils.bottleneck", "torch.utils.file_baton"),
    *("torch.utils.tensorboard", "torch.utils._strobelight", "torch.distributed.launcher"),
    *("torch.distributed.run", "torch.profiler", "torch.autograd.profiler", "torch.onnx"),
    *("numpy.distutils", "numpy.f2py", "numpy.testing"),
)
# Other parts of torch and numpy that open files and sockets, or start processes.
_DOING = re.compile(r"\w*(Store|Timer|Writer|Profiler|Process|Executor|DataSource|Repository)")
_GETATTR = Global("builtins", "getattr")
# Classes whose functions are values in models and schedulers, as in `self.act = torch.relu`.
_TORCH_FUNCTIONS_OF = {
    *("torch._C._VariableFunctionsClass", "torch._C.TensorBase", "torch._C._TensorBase"),
    "torch.Tensor",
}
# Modules that pickles of torch modules name like classes or functions.
_MODULES = {
    *("F", "_C", "_VF", "_Reduction", "dataclasses", "functools", "grad", "importlib", "math"),
    *("np", "torch", "types", "typing", "warnings"),
}
# Modules whose functions are kept by name; pickles never call them.
_KEPT = {
    *_TORCH_FUNCTIONS,
    *("torch.utils.data._utils.collate", "torch.utils.data.dataloader"),
    *("torch.amp.grad_scaler", "torch.cuda.amp.grad_scaler"),
}
_FUNCTION = re.compile(r"_?[A-Za-z]\w*")
_LOADERS = {
    *("pip", "setuptools", "distutils", "cloudpickle", "dill", "joblib", "jsonpickle", "pickle5"),
    *("IPython", "ipykernel", "aiohttp", "cffi", "fabric", "httpx", "invoke", "numexpr"),
    *("paramiko", "pexpect", "plumbum", "requests", "sh", "urllib3"),
}


def check_globals(names: list[Global]) -> list[str]:
    """Return the classes of other packages among these names. Raises FormatError for a program."""
    unknown = []
    for name in map(in_python_3, names):
        if is_known(name) or name == _GETATTR:  # calls of getattr are checked by their arguments
            continue
        if not _may_be_data(name):
            raise FormatError(
                "program-in-data",
                f"its pickle could run code: it names {name}",
                "do not load this file with anything that runs pickles",
            )
        unknown.append(str(name))
    return unknown


def in_python_3(name: Global) -> Global:
    """The name that Python 3 looks up instead, because `pickle` maps names of Python 2."""
    if renamed := NAME_MAPPING.get((name.module, name.name)):
        return Global(*renamed)
    return Global(IMPORT_MAPPING.get(name.module, name.module), name.name)


def is_function_of_torch(owner: Global, name: str) -> bool:
    """Whether this is a function of one of torch's classes for models and optimizers."""
    if not _FUNCTION.fullmatch(name):
        return False
    return str(owner) in _TORCH_FUNCTIONS_OF or _is_class_of_torch(owner)


def is_known(name: Global) -> bool:
    """Whether torch, numpy or Python use this class or function to pickle data."""
    owner, _, attribute = name.name.rpartition(".")
    if owner and is_function_of_torch(Global(name.module, owner), attribute):
        return True
    if str(name) in _TORCH_FUNCTIONS_OF or name.name in _KNOWN.get(name.module, ()):
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
        return name.name.isidentifier() and name.name not in _MODULES
    if _is_class_of_torch(name):
        return True
    return name.module in _DATA_MODULES and _CLASS.fullmatch(name.name) is not None


def is_only_kept(name: Global) -> bool:
    """Whether this is a function that models keep by name, and that no pickle calls."""
    function = re.match(r"_*[a-z]", name.name.rpartition(".")[2]) is not None
    return function and ("." in name.name or name.module in _KEPT)


def _is_class_of_torch(name: Global) -> bool:
    if name.name in _MODULES:
        return False
    if not name.module.startswith(_TORCH_CLASSES) or name.module.startswith(_TORCH_PROGRAMS):
        return False
    return _TORCH_CLASS.fullmatch(name.name) is not None


def _may_be_data(name: Global) -> bool:
    """Whether an unknown name can be a class rather than a program."""
    top = name.module.partition(".")[0]
    if name.module in ("torch", "torch._C"):  # other classes there open files or compile programs
        return _CORE_CLASS.fullmatch(name.name) is not None
    if top in ("torch", "numpy"):
        known = not name.module.startswith(_TORCH_PROGRAMS)
        return known and bool(_CLASS.fullmatch(name.name)) and not _DOING.fullmatch(name.name)
    if top in STDLIB_NAMES or top in _LOADERS or not top:
        return False
    # Protocol 4 resolves dotted names attribute by attribute, so only nested classes are allowed.
    return "." not in name.name or _QUALIFIED_CLASS.fullmatch(name.name) is not None
