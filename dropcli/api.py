"""The Python door: the command's work on files, and its very masks on arrays in memory."""

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dropcli.__version__ import __version__
from dropcli.cli.progress import Progress
from dropcli.cli.values import choose_output, parse_over
from dropcli.dataset.plan import Request, plan_batch
from dropcli.dataset.request import is_dataset, job_of, prepare
from dropcli.dataset.run import run_batch
from dropcli.dataset.tally import Tally
from dropcli.dropout.combinations import check_torch_input
from dropcli.dropout.over import CHANNELS, Over
from dropcli.dropout.ranges import Between
from dropcli.dropout.settings import Dropout, whole_number
from dropcli.errors import ArgumentError, TensorError, UsageError
from dropcli.pipeline.job import run_file
from dropcli.pipeline.recipe import Application
from dropcli.pipeline.report import Report
from dropcli.tensors import BY_TORCH_NAME, DTYPES, Dtype, TensorInfo

if TYPE_CHECKING:
    import torch

_BLOCK = 1 << 18  # elements at a time, which stay in the cache

Path = str | os.PathLike[str]
P = float | tuple[float, float]
Dims = str | int | Sequence[int] | None
Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


@contextmanager
def _value_errors() -> Iterator[None]:
    """Errors as Python functions have them."""
    try:
        yield
    except (UsageError, TensorError) as error:
        raise ArgumentError(error.code, error.message, error.hint, error.place) from None


def apply(
    source: Path | Sequence[Path],
    target: Path | None = None,
    *,
    p: P = 0.5,
    seed: int | None = None,
    over: Dims = None,
    key: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    rescale: bool = True,
    fill: float | None = None,
    alpha: bool = False,
    p_per: str = "file",
    exact: bool = False,
    min_keep: int | None = None,
    rng: str = "dropcli",
    eval: bool = False,
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
) -> Report:
    """Drop files, as `dropcli apply source -o target` does, and return its report.

    `source` is a file, a folder, a glob, or several of them; the options are those of the command.
    `report.document()` is its JSON document, with the seed that was drawn if none was given.

    Raises:
        dropcli.DropcliError: what the command would end with. Of several files, one that fails is
            an entry of `report.errors` instead.
    """
    check_torch_input(rng, stream, copies or None)
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    operands = [os.fspath(path) for path in sources]
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
    dropout = Dropout(
        p=_between(p),
        seed=secrets.randbits(64) if seed is None else seed,
        over=_over(over),
        rescale=rescale,
        fill=_plain(fill),
        key=_patterns(key),
        exclude=_patterns(exclude),
        eval=eval,
        p_per=p_per,
        alpha=alpha,
        exact=exact,
        min_keep=min_keep,
        rng=rng,
    )
    if not is_dataset(operands, request):
        file = run_file(job_of(operands[0], request), dropout, lambda total: lambda count: None)
        return Report(__version__, "apply", dropout.settings(), [file])
    found, request, dropout = prepare(operands, None, request, dropout, drawn=seed is None)
    tally = Tally(keep=True)
    run_batch(plan_batch(request, found), request, dropout, tally, Progress())
    errors = [error.document() for error in tally.errors]
    return Report(__version__, "apply", dropout.settings(), [*tally.files], errors)


@_value_errors()
def drop(
    x: Array,
    *,
    p: P = 0.5,
    seed: int,
    stream: str,
    tensor: str = "tensor",
    copy: int = 0,
    over: Dims = None,
    rescale: bool = True,
    fill: float | None = None,
    alpha: bool = False,
    p_per: str = "file",
    exact: bool = False,
    min_keep: int | None = None,
    inplace: bool = False,
) -> Array:
    """Drop elements of an array or tensor: exactly what the command writes for it.

    Args:
        x: a numpy array or a torch tensor on the CPU, of any shape.
        p: the probability of dropping, or two to draw it between.
        seed: 0 to 2**64 - 1.
        stream: the name of the file, as the command has it: without the suffix, in a folder the
            path below it, as in "train/0001".
        tensor: the name of the tensor in the file; "tensor" is that of a `.pt` of one tensor.
        copy: the number of the copy, 0 without `--copies`.
        over: the dimensions along which decisions differ, as 0, (0, 1), "0,2:8,3:8"
            or "channel".
        inplace: overwrite `x`, and return it.
        rescale: whether what is kept is multiplied by 1 / (1 - p).
        fill: what dropped elements become, None for zero.
        alpha: alpha dropout, as `nn.AlphaDropout`.
        p_per: "file" or "sample": for what a p is drawn where there are two.
        exact: exactly round(p * n) decisions of each group of n drop.
        min_keep: at least so many decisions of each group are kept.

    Returns:
        A new array or tensor of the same shape and dtype, or `x` itself.

    Raises:
        dropcli.ArgumentError: a ValueError, for arguments that are wrong or do not fit `x`.
        TypeError: `x` is something else, or a tensor that requires a gradient.
    """
    dropout = Dropout(
        p=_between(p),
        seed=seed,
        over=_over(over),
        rescale=rescale,
        fill=_plain(fill),
        p_per=p_per,
        alpha=alpha,
        exact=exact,
        min_keep=min_keep,
        key=(tensor,),
    )
    application = Application(dropout, stream, copy)
    if isinstance(x, np.ndarray):
        dtype = _dtype(x.dtype.name)
        little = x.astype(x.dtype.newbyteorder("<"))
        raw = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        _drop_raw(application, dropout, TensorInfo(tensor, dtype, x.shape, 0, 0), raw)
        dropped = raw.view(little.dtype).reshape(x.shape).astype(x.dtype, copy=False)
        if inplace:
            x[...] = dropped
        return x if inplace else dropped
    return _drop_tensor(x, application, dropout, tensor, inplace)


def _drop_tensor(
    x: "torch.Tensor", application: Application, dropout: Dropout, name: str, inplace: bool
) -> "torch.Tensor":
    library: Any = sys.modules.get("torch")  # whoever has a tensor has imported it
    if library is None or not isinstance(x, library.Tensor):
        raise TypeError(f"expected a numpy array or a torch tensor, got {type(x).__name__}")
    if (
        x.is_quantized
        or x.is_nested
        or x.device.type != "cpu"
        or x.layout != library.strided
        or x.requires_grad
    ):
        raise TypeError(
            "expected a strided tensor on the CPU that requires no gradient, got "
            f"{x.device.type}, {x.layout}, requires_grad={x.requires_grad}"
        )
    # A copy in logical order, as bytes, because numpy has no bfloat16.
    dtype = _dtype(str(x.dtype).removeprefix("torch."))
    flat = library.empty(x.shape, dtype=x.dtype, device="cpu").copy_(x).reshape(-1)
    info = TensorInfo(name, dtype, tuple(x.shape), 0, 0)
    _drop_raw(application, dropout, info, flat.view(library.uint8).numpy())
    output: torch.Tensor = x if inplace else library.empty_like(x)
    output.copy_(flat.reshape(x.shape))
    return output


def _dtype(name: str) -> Dtype:
    """The dtype that torch, numpy and ml_dtypes call by this name."""
    if name not in BY_TORCH_NAME:
        raise TypeError(f"expected a dtype of numbers, got {name}")
    return BY_TORCH_NAME[name]


def _drop_raw(
    application: Application, dropout: Dropout, info: TensorInfo, raw: NDArray[np.uint8]
) -> None:
    """Drop the elements in these bytes, a block at a time."""
    dropout.select([info])  # which says what cannot be dropped
    plan = application.plan(info)
    itemsize = info.dtype.bits // 8
    for first in range(0, info.elements, _BLOCK):
        part = raw[first * itemsize : (first + _BLOCK) * itemsize]
        keep = np.empty(len(part) // itemsize, np.bool_)
        plan.mask.keep(first, keep)
        kernel = plan.kernel(first, len(keep))
        with np.errstate(all="ignore"):
            values = kernel.values(part)
            kernel.apply(part, values, keep, bool(np.isfinite(values).all()))


def _count(name: str, value: int, least: int) -> int:
    number = whole_number(name, value)
    if number < least:
        raise UsageError(f"bad-{name}", f"{name}: expected {least} or more, got {number}")
    return number


def _patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """One glob, or several."""
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _plain(number: Any) -> Any:
    """A number of Python's own, which JSON knows."""
    return number.item() if isinstance(number, np.generic) else number


def _between(p: P) -> float | Between:
    if isinstance(p, tuple | list):
        low, high = p
        return Between(float(low), float(high))
    return float(p)


def _over(over: Dims) -> Over | None:
    if over is None:
        return None
    if isinstance(over, str):
        return CHANNELS if over == "channel" else parse_over(over)
    dimensions = [over] if isinstance(over, int | np.integer) else over
    return parse_over(",".join(str(index(dimension)) for dimension in dimensions))


@_value_errors()
def keep_mask(
    shape: Sequence[int],
    *,
    p: P = 0.5,
    seed: int,
    stream: str,
    tensor: str = "tensor",
    copy: int = 0,
    over: Dims = None,
    p_per: str = "file",
    exact: bool = False,
    min_keep: int | None = None,
) -> NDArray[np.bool_]:
    """The mask that `drop` applies to a tensor of this shape: True where elements are kept.

    The arguments are those of `drop`, and so are the errors.
    """
    dropout = Dropout(
        p=_between(p),
        seed=seed,
        over=_over(over),
        p_per=p_per,
        exact=exact,
        min_keep=min_keep,
    )
    info = TensorInfo(tensor, DTYPES["F32"], tuple(shape), 0, 0)
    plan = Application(dropout, stream, copy).plan(info)
    keep = np.empty(info.elements, np.bool_)
    if info.elements:
        plan.mask.keep(0, keep)
    return keep.reshape(info.shape)
