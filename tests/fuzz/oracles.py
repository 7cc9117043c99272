"""The results of the libraries for a file, and where we differ from them.

Nothing here is imported from the package.
"""

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tests.fuzz.inert import throws_tensors_away

_LEGACY = b"l\xfc\x9cF\xf9 j\xa8P\x19"

Tensors = list[tuple[str, torch.Tensor]]
Refusal = Exception


def read(path: str) -> Tensors | Refusal:
    """All tensors of a file by name, or the reason why the library refuses it."""
    head = Path(path).read_bytes()[:32]
    if head.startswith(b"PK\3\4") or _LEGACY in head:
        return _of_torch(path)
    return _of_safetensors(path)


def _of_safetensors(path: str) -> Tensors | Refusal:
    try:
        with safe_open(path, framework="pt") as file:
            return [(name, file.get_tensor(name)) for name in sorted(file.keys())]
    except SafetensorError as error:
        return error


def _of_torch(path: str) -> Tensors | Refusal:
    with warnings.catch_warnings(action="ignore"):
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # noqa: BLE001  # torch raises whatever comes
            return error
        return [*_walk("", content, set())]


def _walk(name: str, value: Any, above: set[int]) -> Tensors:
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, dict):
        pairs: Any = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return []
    if id(value) in above:  # a list in itself
        return []
    inside = above | {id(value)}
    return [found for key, member in pairs for found in _walk(f"{name}.{key}", member, inside)]


def same_tensors(before: Tensors, after: Tensors, *, values: bool) -> bool:
    """Whether names, dtypes and shapes are the same, and optionally the values."""
    if [name for name, _ in before] != [name for name, _ in after]:
        return False
    return all(
        (x.dtype, x.shape, x.layout) == (y.dtype, y.shape, y.layout)
        and (not values or x.layout != torch.strided or torch.equal(_bits(x), _bits(y)))
        for (_, x), (_, y) in zip(before, after, strict=True)
    )


def _bits(x: torch.Tensor) -> torch.Tensor:
    if x.is_quantized:  # torch copies those with a quantizer only
        return torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage())
    return x.new_empty(x.numel()).copy_(x.detach().flatten()).view(torch.uint8)


# Cases that we accept and torch refuses, each with its reason.


def _other_classes(command: str, data: bytes, why: Refusal) -> bool:
    """Files with classes that torch does not allow: dropcli reads them without running them."""
    words = ("Unsupported global", "Unsupported class", "Blocklisted")
    return isinstance(why, pickle.UnpicklingError) and any(word in str(why) for word in words)


def _calls_that_fail(command: str, data: bytes, why: Refusal) -> bool:
    """We call nothing for a pickle, so a call that would fail, or an unhashable key, is copied.

    What a tensor is made of is held to what torch says of it, so its errors are not among these.
    """
    if isinstance(why, pickle.UnpicklingError):
        return any(word in str(why) for word in _CALLS)
    return isinstance(why, TypeError | AttributeError | AssertionError | ValueError) or any(
        word in str(why)
        for word in (
            "expected torch.dtype",
            "requires_grad must be a bool",
            "can require gradients",  # a flag that only training asks for
            "Boolean value of",
        )
    )


_CALLS = ("call reduce for", "Can only", "NEWOBJ", "NEWTRUE")


def _other_opcodes(command: str, data: bytes, why: Refusal) -> bool:
    """We read all opcodes of all protocols; torch reads those that it writes."""
    return isinstance(why, pickle.UnpicklingError) and "Unsupported operand" in str(why)


def _tensors_in_nothing(command: str, data: bytes, why: Refusal) -> bool:
    """A pickle may make a tensor and discard it: only tensors in the content are checked."""
    try:
        return throws_tensors_away(_pickle_of(data))
    except (zipfile.BadZipFile, StopIteration, ValueError):
        return False


def _pickle_of(data: bytes) -> bytes:
    """The pickle of the content, the fourth in a legacy file; more may follow it."""
    if data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return archive.read(name)
    stream = io.BytesIO(data)
    for _ in range(3):
        for _ in pickletools.genops(stream):
            pass
    return stream.read()


def _headers_alone(command: str, data: bytes, why: Refusal) -> bool:
    """`info` reads only headers; `apply` finds damage after them."""
    return command == "info" and _damaged_member(data)


def _damaged_member(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, ValueError, struct.error):
        return False


def _dtypes_without_tensors(command: str, data: bytes, why: Refusal) -> bool:
    """We copy tensors of F4, F6 and similar dtypes, which torch does not have."""
    return isinstance(why, SafetensorError) and "Dtype not understood" in str(why)


def _bytes_after_the_end(command: str, data: bytes, why: Refusal) -> bool:
    """Trailing bytes: we note them and leave them out; torch accepts only some of them."""
    return data.startswith(b"PK\3\4") and 0 <= data.rfind(b"PK\5\6") < len(data) - 22


def _special_tensors(command: str, data: bytes, why: Refusal) -> bool:
    """Quantized tensors are copied unchanged: their parts are not checked."""
    return b"_rebuild_qtensor" in data and "quantized tensor" in str(why)


DIFFERENCES: tuple[Callable[[str, bytes, Refusal], bool], ...] = (
    _other_classes,
    _other_opcodes,
    _calls_that_fail,
    _special_tensors,
    _tensors_in_nothing,
    _headers_alone,
    _dtypes_without_tensors,
    _bytes_after_the_end,
)


def documented(command: str, data: bytes, why: Refusal) -> str | None:
    """The name of the documented difference; None if it is not documented."""
    found = (test.__name__ for test in DIFFERENCES if test(command, data, why))
    return next(found, None)
