"""One application of the settings to one file: what they come to for each of its tensors."""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout.kernels import Arithmetic, make_kernel
from dropcli.dropout.over import Over
from dropcli.dropout.ranges import Between
from dropcli.dropout.settings import Dropout, in_tensor, whole_number
from dropcli.dropout.wrappers import Kernel
from dropcli.errors import TensorError, UsageError
from dropcli.masks.decisions import BySample, Decisions, Independent
from dropcli.masks.exact import Axes, Counts, Grouped
from dropcli.masks.keystream import Words, mask_key, p_key
from dropcli.masks.mask import Mask, block_grid, cells_of, element_grid
from dropcli.masks.probability import Chance, SampleChances, Spread, draw
from dropcli.masks.torch_rng import TorchDecisions, TorchDraws
from dropcli.tensors import Dtype, TensorInfo, shape_text

_MOST_IDLE = 1 << 24  # decisions that no element obeys


@dataclass(frozen=True)
class TensorDropout:
    """The plan for one tensor: its mask and its arithmetic."""

    tensor: TensorInfo
    mask: Mask
    p: Chance
    _arithmetic: Arithmetic
    _kernel: Kernel
    _shown: bool  # whether the report says p, as the settings leave it open or rates round it
    statistics: bool  # whether anybody asks for them; they take longer than the dropping

    def kernel(self, first: int, count: int) -> Kernel:
        """What drops `count` elements from this one on."""
        if not isinstance(self.p, SampleChances) or not count:
            return self._kernel
        p, share = self.p.run(first, count, self._each)
        return make_kernel(self.tensor.dtype, self._arithmetic, p, share)

    def kernel_at(self, elements: NDArray[np.int64]) -> Kernel:
        """What drops these elements."""
        if not isinstance(self.p, SampleChances):
            return self._kernel
        p, share = self.p.of(elements, self._each)
        return make_kernel(self.tensor.dtype, self._arithmetic, p, share)

    def chance(self) -> Spread | None:
        """What the report says of p where the settings do not say it all."""
        if isinstance(self.p, SampleChances):
            return self.p.spread()
        return Spread(self.p) if self._shown else None

    @property
    def _each(self) -> int:
        return prod(self.tensor.shape[1:])


class Application:
    """The settings, applied to one copy of the file that goes by this stream.

    Its tensors are to be planned in the order of the file.
    """

    def __init__(
        self, dropout: Dropout, stream: str, copy: int, *, statistics: bool = True
    ) -> None:
        if not stream:
            raise UsageError("bad-stream", f"stream: expected a name, got {stream!r}")
        copy = whole_number("copy", copy)
        if copy < 0:
            raise UsageError("bad-copy", f"copy: expected an integer from 0 on, got {copy}")
        self._dropout = dropout
        self._statistics = statistics
        self._stream = os.fsencode(stream)
        self._copy = copy
        self._arithmetic = Arithmetic(dropout.rescale, dropout.fill, dropout.alpha)
        self._counts = Counts(dropout.exact, dropout.min_keep or 0)
        self._draws = (
            TorchDraws(dropout.seed) if dropout.rng == "torch" and not dropout.eval else None
        )
        if self._draws and copy:
            raise UsageError("torch-copies", "--rng torch: expected one output, got copies")

    def plan(self, tensor: TensorInfo) -> TensorDropout:
        """What to do to this tensor; TensorError, naming it, where the settings do not fit."""
        try:
            over = self._dropout.over
            blocks = None if over is None else over.resolve(tensor.shape)
            p = self._p_of(tensor, blocks)
            kernel = self._kernel(tensor.dtype, p)
            decisions = self._decisions(tensor, blocks, p)
        except TensorError as error:
            raise in_tensor(tensor, error) from None
        shape = tensor.shape
        by_element = blocks is None or _is_absurd(tensor)
        grid = element_grid(shape) if by_element else block_grid(shape, blocks or {})
        shown = bool(self._counts) or isinstance(self._dropout.p, Between)
        mask = Mask(decisions, grid)
        return TensorDropout(tensor, mask, p, self._arithmetic, kernel, shown, self._statistics)

    @cached_property
    def _file_p(self) -> float:
        """The p of the whole file, drawn where a range is asked for."""
        p = self._dropout.p
        if not isinstance(p, Between):
            return p
        key = p_key(self._dropout.seed, self._stream, "", self._copy)
        return float(draw(p, Words(key).read(0, 1))[0])

    def _p_of(self, tensor: TensorInfo, blocks: dict[int, int] | None) -> Chance:
        if not isinstance(self._dropout.p, Between) or self._dropout.p_per == "file":
            return self._file_p
        shape = tensor.shape
        if not shape:
            raise TensorError(
                "no-samples",
                "expected a dimension 0 of samples for --p-per sample, got a scalar",
                "leave it out with --exclude: it is then copied",
            )
        if blocks is not None and blocks.get(0) != 1:
            raise TensorError(
                "shared-between-samples",
                "expected decisions of one sample each for --p-per sample, got some that several "
                f"share: --over {self._dropout.over} on {shape_text(shape)}",
                "add dimension 0 to --over, without a block, or use --p-per file",
            )
        key = p_key(self._dropout.seed, self._stream, tensor.name, self._copy)
        return SampleChances(self._dropout.p, key, 0 if _is_absurd(tensor) else shape[0])

    def _kernel(self, dtype: Dtype, p: Chance) -> Kernel:
        """The kernel for all elements or, where p changes, one that tells that the fill fits."""
        return _fixed_kernel(dtype, self._arithmetic, p if isinstance(p, float) else 0.5)

    def _decisions(self, tensor: TensorInfo, blocks: dict[int, int] | None, p: Chance) -> Decisions:
        shape, over = tensor.shape, self._dropout.over
        if self._draws and isinstance(p, float):
            if over is None:
                return TorchDecisions(self._draws, p, prod(shape), tensor.layout)
            return TorchDecisions(self._draws, p, prod(shape[:2]))

        key = mask_key(self._dropout.seed, self._stream, tensor.name, self._copy)
        cells = cells_of(shape, blocks)
        if over is not None and self._counts:
            return Grouped(key, p, self._counts, _axes(over, cells, p))
        if isinstance(p, SampleChances):
            return BySample(key, p, prod(cells[1:]))
        return Independent(key, p)


def _is_absurd(tensor: TensorInfo) -> bool:
    """Whether it is empty, but so long that nobody could wait for its decisions."""
    return not tensor.elements and prod(filter(None, tensor.shape)) > _MOST_IDLE


@lru_cache(maxsize=64)
def _fixed_kernel(dtype: Dtype, arithmetic: Arithmetic, p: float) -> Kernel:
    """Kernels hold nothing of a tensor, so thousands of small files share one."""
    return make_kernel(dtype, arithmetic, p)


def _axes(over: Over, cells: tuple[int, ...], p: Chance) -> Axes:
    """Groups run along the dimension that is written last in `--over`."""
    last = over.blocks[-1][0] % len(cells)
    if last == 0 and isinstance(p, SampleChances):
        raise TensorError(
            "group-of-samples",
            "expected groups within a sample for --p-per sample, got groups along dimension 0, "
            f"which --over {over} ends with",
            "write 0 first, as in --over 0,1: the groups are then the channels of a sample",
        )
    return Axes(prod(cells[:last]), cells[last], prod(cells[last + 1 :]))
