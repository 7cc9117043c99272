"""Dropout in memory: what the command writes for an array or tensor, and a transform."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import (
    ArraySettings,
    FileSettings,
    MaskSettings,
    Raw,
    check_dtype,
    check_exact,
    check_torch_input,
)
from dropcli.dropout import Dropout as BaseDropout
from dropcli.errors import ArgumentError, TensorError, UsageError, in_python
from dropcli.masks import FileMasks, drawn_stream
from dropcli.pipeline import drop_run, recipe_for
from dropcli.tensors import BY_TORCH_NAME, DTYPES, Dtype, Layout, TensorInfo

if TYPE_CHECKING:
    import torch

Probability = float | tuple[float, float]
Array = TypeVar("Array", NDArray[Any], "torch.Tensor")
_P = ParamSpec("_P")
_R = TypeVar("_R")

_MAX_MADE = 64
# So that a training loop checks its settings only once.
_made: dict[tuple[type, str], "Dropout"] = {}


def _value_errors(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn errors in arguments into ArgumentError, which is a ValueError."""

    @wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (UsageError, TensorError) as error:
            message, hint = in_python(error.message), error.hint and in_python(error.hint)
            raise ArgumentError(error.code, message, hint, error.place) from None

    return wrapper


class Dropout(BaseDropout):
    """Dropout that can be called, for example as the `transform` of a dataset.

    Called with `stream`, it is a pure function: it returns what the command writes for a file of
    this name. Called without, it draws a stream from torch's default generator each time, so that
    calls, epochs and `DataLoader` workers differ, and `torch.manual_seed` repeats them. With
    `rng="torch"` every call makes the mask of the seed.

    Objects with the same settings are equal; `repr` is the constructor call; pickle is supported.

    Args:
        p: the probability of dropping, from 0 to 1, or a pair to draw it from.
        seed: 0 to 2**64 - 1; part of the key of each mask.
        settings: `over` or `mode`, `p_per`, `exact`, `min_keep`, `rescale`, `fill`, `alpha`, `rng`
            and `eval`, as the options of `dropcli apply`. `key`, `exclude` and `all_floats`
            choose tensors of files, and have no effect here.

    Raises:
        dropcli.ArgumentError: a ValueError; a setting is wrong.
    """

    @_value_errors
    def __init__(
        self, p: Probability = 0.5, seed: int = 0, **settings: Unpack[FileSettings]
    ) -> None:
        super().__init__(cast(Any, p), seed, **cast(Any, settings))

    @_value_errors
    def __call__(
        self,
        x: Array,
        *,
        stream: str | None = None,
        tensor: str = "tensor",
        copy: int = 0,
        inplace: bool = False,
    ) -> Array:
        """Drop elements of an array or tensor; none in evaluation mode.

        Args:
            x: a numpy array or a torch tensor on the CPU, of any shape.
            stream: the name of the file, as for the command: without the suffix; in a folder, the
                path below it, such as "train/0001". None draws one.
            tensor: the name of the tensor in the file; "tensor" is that of a bare tensor.
            copy: the number of the copy, 0 without `--copies`.
            inplace: overwrite `x`, and return it.

        Returns:
            A new array or tensor of the same shape and dtype, or `x` itself.

        Raises:
            dropcli.ArgumentError: a ValueError; arguments are wrong or do not fit `x`.
            TypeError: `x` is something else, or a tensor that requires a gradient.
        """
        if isinstance(x, np.ndarray):
            return self._drop_array(x, self._masks(stream, copy), tensor, inplace)
        return self._drop_tensor(x, self._masks(stream, copy), tensor, inplace)

    @_value_errors
    def mask(
        self,
        shape: Sequence[int],
        *,
        stream: str | None = None,
        tensor: str = "tensor",
        copy: int = 0,
    ) -> NDArray[np.bool_]:
        """The mask for an array of this shape: True where elements are kept.

        The arguments are those of a call, and so are the errors.
        """
        info = TensorInfo(tensor, DTYPES["F32"], tuple(shape), 0, 0)
        keep = np.ones(info.elements, np.bool_)
        if info.elements and not self.eval:
            self._masks(stream, copy).mask_for(info).keep(0, keep)
        return keep.reshape(info.shape)

    def _masks(self, stream: str | None, copy: int) -> FileMasks:
        check_torch_input(self.rng, stream)
        if stream is None:
            stream = "-" if self.rng == "torch" or self.eval else drawn_stream()
        return FileMasks(self, stream, copy)

    def _drop_array(
        self, x: NDArray[Any], masks: FileMasks, name: str, inplace: bool
    ) -> NDArray[Any]:
        info = TensorInfo(name, _dtype(x.dtype.name), x.shape, 0, 0)
        little = x.astype(x.dtype.newbyteorder("<"))
        raw = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        self._drop_raw(masks, info, raw)
        dropped = raw.view(little.dtype).reshape(x.shape).astype(x.dtype, copy=False)
        if inplace:
            x[...] = dropped
        return x if inplace else dropped

    def _drop_tensor(
        self, x: "torch.Tensor", masks: FileMasks, name: str, inplace: bool
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
        dtype = _dtype(str(x.dtype).removeprefix("torch."))
        if x.is_contiguous() and not (x.is_complex() or x.is_neg()):
            output: torch.Tensor = x if inplace else x.clone()
            self._drop_raw(
                masks,
                TensorInfo(name, dtype, tuple(x.shape), 0, 0),
                output.view(-1).view(library.uint8).numpy(),
            )
            return output
        new: torch.Tensor = library.empty_like(x)
        # torch draws in the order of the output's elements in memory.
        ordered = self.rng != "torch" or new.is_contiguous()
        layout = None if ordered else Layout(tuple(x.shape), new.stride())
        info = TensorInfo(name, dtype, tuple(x.shape), 0, 0, layout)
        # A copy in logical order, as bytes, because numpy has no bfloat16.
        flat = library.empty(x.shape, dtype=x.dtype, device="cpu").copy_(x).reshape(-1)
        self._drop_raw(masks, info, flat.view(library.uint8).numpy())
        output = x if inplace else new
        output.copy_(flat.reshape(x.shape))
        return output

    def _drop_raw(self, masks: FileMasks, tensor: TensorInfo, raw: Raw) -> None:
        """Drop elements of this tensor in place, even if the rules would not select it."""
        check_dtype(self, tensor)
        check_exact(self, tensor)
        if self.eval:
            return
        drop_run(recipe_for(self, masks, tensor, statistics=False), 0, raw)


def _dtype(name: str) -> Dtype:
    """The dtype with this name in torch, numpy or ml_dtypes."""
    if name not in BY_TORCH_NAME:
        raise TypeError(f"dropout is not defined for dtype {name}")
    return BY_TORCH_NAME[name]


def drop(
    x: Array,
    *,
    seed: int,
    stream: str | None = None,
    tensor: str = "tensor",
    copy: int = 0,
    inplace: bool = False,
    p: Probability = 0.5,
    **settings: Unpack[ArraySettings],
) -> Array:
    """Apply dropout to an array or tensor: return exactly what the command writes for it.

    The arguments, the result and the errors are those of `Dropout` and of calling it. `stream` is
    required, except with `rng="torch"`, whose masks depend on the seed alone.
    """
    made = _dropout(ArraySettings, p, seed, stream, settings)
    return made(x, stream=stream, tensor=tensor, copy=copy, inplace=inplace)


def keep_mask(
    shape: Sequence[int],
    *,
    seed: int,
    stream: str | None = None,
    tensor: str = "tensor",
    copy: int = 0,
    p: Probability = 0.5,
    **settings: Unpack[MaskSettings],
) -> NDArray[np.bool_]:
    """The mask that `drop` applies to a tensor of this shape: True where elements are kept.

    The arguments and the errors are those of `drop`.
    """
    made = _dropout(MaskSettings, p, seed, stream, settings)
    return made.mask(shape, stream=stream, tensor=tensor, copy=copy)


@_value_errors
def _dropout(known: type, p: Any, seed: int, stream: str | None, settings: Any) -> Dropout:
    """The `Dropout` with these settings.

    Raises TypeError for one that is unknown here, such as `key`.
    """
    key = (known, repr((p, seed, settings)))  # in which 1, 1.0 and True differ
    made = _made.get(key)
    if made is None:
        for name in settings:
            if name not in get_type_hints(known):
                raise TypeError(f"unexpected argument '{name}'")
        if len(_made) >= _MAX_MADE:
            _made.clear()
        made = _made[key] = Dropout(p, seed, **settings)
    if stream is None and made.rng != "torch":
        raise UsageError(
            "bad-stream",
            "stream is missing: it is the name of the file, as in 'train/0001'",
            "a dropcli.Dropout draws one for each call",
        )
    return made
