"""The functions for Python: the commands on files, and the same dropout on arrays."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, get_type_hints

import numpy as np
from numpy.typing import NDArray

from dropcli.dataset import (
    Request,
    choose_output,
    is_several,
    prepare,
    tensor_files,
    verify_outputs,
)
from dropcli.dropout import (
    ArraySettings,
    Dropout,
    MaskSettings,
    Raw,
    Settings,
    check_dtype,
    check_exact,
    whole_number,
)
from dropcli.errors import ArgumentError, DropcliError, TensorError, UsageError
from dropcli.formats import read_info
from dropcli.masks import FileMasks
from dropcli.pipeline import Progress, drop_run, recipe_for
from dropcli.pipeline import Report as Report
from dropcli.tensors import BY_TORCH_NAME, DTYPES, Dtype, TensorInfo

if TYPE_CHECKING:
    import torch

_BLOCK = 1 << 18  # elements at a time, which stay in the cache

Path = str | os.PathLike[str]
Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


@contextmanager
def _value_errors() -> Iterator[None]:
    """Raise ArgumentError, which is a ValueError, for errors in arguments."""
    try:
        yield
    except (UsageError, TensorError) as error:
        raise ArgumentError(error.code, error.message, error.hint, error.place) from None


def apply(
    source: Path | Sequence[Path],
    target: Path | None = None,
    *,
    seed: int | None = None,
    stream: str | None = None,
    in_place: bool = False,
    copies: int = 0,
    keep_original: bool = False,
    concat: bool = False,
    copy_others: bool = False,
    force: bool = False,
    resume: bool = False,
    fail_fast: bool = False,
    jobs: int | None = None,
    provenance: bool = True,
    **settings: Unpack[Settings],
) -> Report:
    """Apply dropout to files, as `dropcli apply source -o target` does.

    `source` is a file, a folder, a glob, or several of them; the options are those of the command.
    The report's `settings` contain the seed that was drawn if none was given; each of its `files`
    has `tensors` with the counts and the statistics.

    Raises:
        dropcli.DropcliError: the error that the command would end with. If one of several files
            fails, it is an entry of `report.errors` instead.
    """
    request = Request(
        choose_output(None if target is None else os.fspath(target), in_place),
        stream=stream,
        copies=_count("copies", copies, 0),
        keep_original=keep_original,
        concat=concat,
        copy_others=copy_others,
        force=force,
        resume=resume,
        provenance=provenance,
        fail_fast=fail_fast,
        jobs=None if jobs is None else _count("jobs", jobs, 1),
    )
    return prepare(_paths(source), None, request, seed, **settings).run(Progress())


def info(source: Path | Sequence[Path]) -> Report:
    """What tensor files hold, by their headers, as `dropcli info source` shows it.

    `source` is a file, a folder, a glob, or several of them. Each of the report's `files` has the
    `format`, `metadata`, `provenance` and `tensors` of one.

    Raises:
        dropcli.DropcliError: a single file cannot be read. Of several files, one that cannot is an
            entry of `report.errors` instead.
    """
    operands = _paths(source)
    paths, errors = tensor_files(operands)
    report = Report("info")
    for path in paths:
        try:
            report.entries.append(read_info(path))
        except DropcliError as error:
            errors.append(error)
    return _with_errors(report, operands, errors)


def verify(outputs: Path | Sequence[Path], *, source: Path, jobs: int | None = None) -> Report:
    """Derive outputs again from their provenance and sources, and compare bytes.

    `outputs` is a file, a folder, a glob, or several of them; `source` the file or the folder that
    they were made from. Each of the report's `files` has the `status` "same" or "different" and
    the `difference`; its `tensors` are empty, as bytes are compared.

    Raises:
        dropcli.DropcliError: a single output cannot be verified. Of several outputs, one that
            cannot is an entry of `report.errors` instead.
    """
    operands = _paths(outputs)
    jobs = None if jobs is None else _count("jobs", jobs, 1)
    verdicts, errors = verify_outputs(operands, os.fspath(source), jobs, Progress())
    different = sum(verdict.difference is not None for verdict in verdicts)
    return _with_errors(Report("verify", None, [*verdicts], different=different), operands, errors)


def _paths(several: Path | Sequence[Path]) -> list[str]:
    """One path, or several."""
    paths = [several] if isinstance(several, str | os.PathLike) else several
    return [os.fspath(path) for path in paths]


def _with_errors(report: Report, operands: list[str], errors: list[DropcliError]) -> Report:
    """The report of several files with what went wrong; of a single file that is raised."""
    if errors and not is_several(operands):
        raise errors[0]
    report.errors = [error.document() for error in errors]
    return report


def _dropout(known: type, seed: int, settings: Any) -> Dropout:
    """The settings of an array; raises TypeError for one that arrays do not have, as `key`."""
    for name in settings:
        if name not in get_type_hints(known):
            raise TypeError(f"unexpected argument '{name}'")
    return Dropout.of(seed, **settings)


@_value_errors()
def drop(
    x: Array,
    *,
    seed: int,
    stream: str,
    tensor: str = "tensor",
    copy: int = 0,
    inplace: bool = False,
    **settings: Unpack[ArraySettings],
) -> Array:
    """Apply dropout to an array or tensor: exactly what the command writes for it.

    Args:
        x: a numpy array or a torch tensor on the CPU, of any shape.
        seed: 0 to 2**64 - 1.
        stream: the name of the file, as the command has it: without the suffix, in a folder the
            path below it, as in "train/0001".
        tensor: the name of the tensor in the file; "tensor" is that of a `.pt` of one tensor.
        copy: the number of the copy, 0 without `--copies`.
        inplace: overwrite `x`, and return it.
        settings: `p`, `over` or `mode`, `p_per`, `exact`, `min_keep`, `rescale`, `fill` and
            `alpha`, as `Dropout` describes them.

    Returns:
        A new array or tensor of the same shape and dtype, or `x` itself.

    Raises:
        dropcli.ArgumentError: a ValueError, for arguments that are wrong or do not fit `x`.
        TypeError: `x` is something else, or a tensor that requires a gradient.
    """
    dropout = _dropout(ArraySettings, seed, settings)
    masks = FileMasks(dropout, stream, copy)
    if isinstance(x, np.ndarray):
        dtype = _dtype(x.dtype.name)
        little = x.astype(x.dtype.newbyteorder("<"))
        raw = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        _drop_raw(dropout, masks, TensorInfo(tensor, dtype, x.shape, 0, 0), raw)
        dropped = raw.view(little.dtype).reshape(x.shape).astype(x.dtype, copy=False)
        if inplace:
            x[...] = dropped
        return x if inplace else dropped
    return _drop_tensor(x, masks, dropout, tensor, inplace)


def _drop_tensor(
    x: "torch.Tensor", masks: FileMasks, dropout: Dropout, name: str, inplace: bool
) -> "torch.Tensor":
    library: Any = sys.modules.get("torch")  # imported, if x is a tensor
    if library is None or not isinstance(x, library.Tensor):
        raise TypeError(f"x must be a numpy array or a torch tensor, not {type(x).__name__}")
    if (
        x.is_quantized
        or x.is_nested
        or x.device.type != "cpu"
        or x.layout != library.strided
        or x.requires_grad
    ):
        raise TypeError(
            "x must be a strided tensor on the CPU that requires no gradient, not "
            f"{x.device.type}, {x.layout}, requires_grad={x.requires_grad}"
        )
    # A copy in logical order, as bytes, because numpy has no bfloat16.
    dtype = _dtype(str(x.dtype).removeprefix("torch."))
    flat = library.empty(x.shape, dtype=x.dtype, device="cpu").copy_(x).reshape(-1)
    info = TensorInfo(name, dtype, tuple(x.shape), 0, 0)
    _drop_raw(dropout, masks, info, flat.view(library.uint8).numpy())
    output: torch.Tensor = x if inplace else library.empty_like(x)
    output.copy_(flat.reshape(x.shape))
    return output


def _dtype(name: str) -> Dtype:
    """The dtype by its name in torch, numpy and ml_dtypes."""
    if name not in BY_TORCH_NAME:
        raise TypeError(f"dropout is not defined for dtype {name}")
    return BY_TORCH_NAME[name]


def _drop_raw(dropout: Dropout, masks: FileMasks, tensor: TensorInfo, raw: Raw) -> None:
    """Drop elements of this tensor, which the caller has chosen, in place, a block at a time."""
    check_dtype(dropout, tensor)
    check_exact(dropout, tensor)
    recipe = recipe_for(dropout, masks, tensor, statistics=False)
    itemsize = tensor.dtype.bits // 8
    for first in range(0, tensor.elements, _BLOCK):
        drop_run(recipe, first, raw[first * itemsize : (first + _BLOCK) * itemsize])


def _count(name: str, value: int, least: int) -> int:
    number = whole_number(name, value)
    if number < least:
        raise UsageError(f"bad-{name}", f"{name}: {number} is less than {least}")
    return number


@_value_errors()
def keep_mask(
    shape: Sequence[int],
    *,
    seed: int,
    stream: str,
    tensor: str = "tensor",
    copy: int = 0,
    **settings: Unpack[MaskSettings],
) -> NDArray[np.bool_]:
    """The mask that `drop` applies to a tensor of this shape: True where elements are kept.

    The arguments are those of `drop`, and so are the errors.
    """
    dropout = _dropout(MaskSettings, seed, settings)
    info = TensorInfo(tensor, DTYPES["F32"], tuple(shape), 0, 0)
    mask = FileMasks(dropout, stream, copy).mask_for(info)
    keep = np.empty(info.elements, np.bool_)
    if info.elements:
        mask.keep(0, keep)
    return keep.reshape(info.shape)
