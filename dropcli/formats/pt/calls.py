"""Check the calls in a pickle.

`safe_globals` decides which names a pickle may contain. This module decides which calls it may
make, because a function of another package can do anything with its arguments.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dropcli.errors import FormatError
from dropcli.formats.pt.records import LONG, Call, Dict, Global, MadeCall
from dropcli.formats.pt.safe_globals import (
    in_python_3,
    is_function_of_torch,
    is_known,
    is_only_kept,
)

_GETATTR = Global("builtins", "getattr")
_PARTIAL = Global("functools", "partial")
_RECONSTRUCTOR = Global("copyreg", "_reconstructor")
_TYPE = Global("builtins", "type")
# Functions and classes that other packages use to pickle data, by patterns for their names.
_REBUILDERS = {
    r"pandas\._libs\.internals": "_unpickle_block",
    r"pandas\.core\.internals\.blocks": "new_block",
    r"pandas\.core\.indexes\.\w+": r"_new_\w*Index",
    r"pandas\._libs\.tslibs\.\w+": r"_unpickle_timestamp|_timedelta_unpickle|_nat_unpickle",
    r"pyarrow\.lib": r"_restore_array|chunked_array|type_for_alias|py_buffer|_reconstruct_\w+",
    r"scipy\.sparse\.\w+": r"(bsr|coo|csc|csr|dia|dok|lil)_(matrix|array)",
    r"sklearn\.(neighbors|metrics)\.\w+": "newObj",
    r"torch_geometric\.data\.\w+": r"_?[a-z]*rebuild\w*",
    r"ml_dtypes": r"bfloat16|u?int[124]|float\d\w*",
    r"pytz": "_p",
    r"dateutil\.tz\.tz": r"tzutc|tzoffset",
}
_CYTHON = "__pyx_unpickle_"  # before the name of a class, in any package
# Functions that call their arguments, or keep them to call them later.
_CALLING = re.compile(r"torch\.(?!_utils\.).*|numpy\.random\..*|functools\.partial")
# Functions that may call attributes of their arguments.
_USING = re.compile(r"torch\.(?!ao\.).*|collections\.(OrderedDict|Counter)")
_HINT = "if you trust it, load it with torch and save only its tensors"
_LOWER = re.compile(r"_*[a-z]")


def check_calls(calls: Sequence[MadeCall], names: Sequence[Global]) -> None:
    """Raise FormatError if one of these calls could run code, or if getattr is kept for later."""
    called = set()
    for function, arguments in calls:
        if isinstance(function, Call):
            _check_instance(function)
        else:
            name = in_python_3(function)
            called.add(name)
            _check(name, arguments)
    if _GETATTR in map(in_python_3, names) and _GETATTR not in called:
        _check_getattr(())


def _check(name: Global, arguments: Any) -> None:
    if name == _GETATTR:
        _check_getattr(arguments)
    elif name.module == "enum" or (name == _TYPE and len(arguments) > 1):
        raise _program(f"it makes a class by a call of {name}")
    elif is_only_kept(name) or not _can_call(name):
        raise _program(f"it calls {name}")
    elif name == _RECONSTRUCTOR:
        if any(isinstance(part, Call) for part in arguments[:2]):
            raise _program("it calls what a call has returned")
    else:
        _check_arguments(arguments, name)


def _can_call(name: Global) -> bool:
    if is_known(name) or name.module.startswith(("torch.", "numpy.")):
        return True
    return not _LOWER.match(name.name) or _is_rebuilder(name)


def _check_arguments(arguments: Any, receiver: Global) -> None:
    """Raise FormatError for functions that `receiver` may call, and objects that have any."""
    if _CALLING.fullmatch(str(receiver)):
        for part in _parts(arguments):
            if isinstance(part, Global) or (isinstance(part, Call) and _is_function(part)):
                _check_passed(part, receiver)
    if _USING.fullmatch(str(receiver)):
        for part in arguments:
            if isinstance(part, Call):
                _check_attributes(part.state, receiver)


def _check_instance(called: Call) -> None:
    """Allow calls of objects only if they are instances of other packages, as in batches of PyG."""
    maker = called.function
    if isinstance(maker, Global):
        name = in_python_3(maker)
        if not (is_known(name) or name == _GETATTR or _LOWER.match(name.name)):
            return
    raise _program("it calls what a call has returned")


def _check_getattr(arguments: Any) -> None:
    """Allow getattr only for a function of a class or an object of torch.

    Modules have such functions as attributes, for example `self.act = torch.relu`, and so do the
    hooks of lazy modules.
    """
    match arguments:
        case (Global() as owner, str() as name) | (
            Call(function=Global() as owner),
            str() as name,
        ) if is_function_of_torch(owner, name):
            return
    problem = "its pickle calls getattr, which can reach any function"
    raise FormatError("program-in-data", problem, _HINT)


def _parts(arguments: Any) -> Iterator[Any]:
    """The arguments, with everything in tuples and lists among them."""
    stack, count = [arguments], 0
    while stack:
        value, count = stack.pop(), count + 1
        if isinstance(value, tuple | list):
            stack.extend(value[:LONG])
        if count + len(stack) > LONG:
            raise _program(f"a call has more than {LONG} arguments")
        yield value


def _is_function(made: Call) -> bool:
    return isinstance(made.function, Global) and in_python_3(made.function) in (_GETATTR, _PARTIAL)


def _check_passed(value: Any, receiver: Global) -> None:
    """Raise FormatError for a function that `receiver` would call while the file is loaded."""
    if isinstance(value, Global):
        name = in_python_3(value)
        # Codecs are chosen by name, which these arguments do not show.
        known = is_known(name) and name.module != "_codecs" and not is_only_kept(name)
        harmless = known or _is_rebuilder(name) or not _LOWER.match(name.name)
        if harmless or (receiver == _PARTIAL and name != _GETATTR):
            return
    elif receiver == _PARTIAL:  # it only keeps the object, whose own parts are checked
        return
    raise _program(f"it passes a function to {receiver}")


def _check_attributes(state: Any, receiver: Global) -> None:
    """Raise FormatError if an object with this state has a function that `receiver` could call."""
    for part in state if isinstance(state, tuple) else (state,):
        pairs = part.pairs if isinstance(part, Dict) else []
        values = [value for _, value in pairs]
        if len(pairs) >= LONG or any(_can_be_called(value) for value in values):
            raise _program(f"it passes an object with a function to {receiver}")


def _can_be_called(value: Any) -> bool:
    if isinstance(value, Global):
        return _LOWER.match(value.name.rpartition(".")[2]) is not None
    return isinstance(value, Call) and _is_function(value)


def _is_rebuilder(name: Global) -> bool:
    if name.name.startswith(_CYTHON):
        return True
    return any(
        re.fullmatch(module, name.module) and re.fullmatch(names, name.name)
        for module, names in _REBUILDERS.items()
    )


def _program(problem: str) -> FormatError:
    return FormatError("program-in-data", f"its pickle could run code: {problem}", _HINT)
