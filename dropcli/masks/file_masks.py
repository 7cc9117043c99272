"""The masks of a file: from the settings, its name and a copy number to a mask for each tensor."""

import os
from math import prod

from dropcli.dropout import LEAVE_OUT, Axis, Dropout, Over, Range, grid_of, in_tensor, whole_number
from dropcli.errors import TensorError, UsageError
from dropcli.masks.decisions import Bernoulli, BernoulliPerSample, Decisions
from dropcli.masks.exact import MAX_GROUP, Axes, ExactPerGroup
from dropcli.masks.keystream import Keystream, mask_key, p_key
from dropcli.masks.mask import Mask
from dropcli.masks.probability import Probability, SampleProbabilities, draw
from dropcli.masks.torch_rng import TorchDecisions, TorchDraws
from dropcli.tensors import TensorInfo

_MAX_IDLE = 1 << 24  # decisions for a tensor without elements


class FileMasks:
    """The masks of one copy of a file; `stream` is its name in mask keys.

    Raises:
        UsageError: the stream is empty, the copy is negative, or one of them is given with
            `--rng torch`.
    """

    def __init__(self, dropout: Dropout, stream: str, copy: int) -> None:
        if not stream:
            raise UsageError("bad-stream", f"stream: {stream!r} is not a name")
        self._copy = whole_number("copy", copy)
        self._dropout = dropout
        self._stream = os.fsencode(stream)
        self._file_p = self._p_of_file()
        self._draws = None
        if dropout.rng == "torch" and not dropout.eval:
            self._draws = TorchDraws(dropout.seed)
            if self._copy:
                raise UsageError(
                    "torch-copies",
                    "--rng torch cannot make copies, as masks depend on the seed alone",
                )

    def mask_for(self, tensor: TensorInfo) -> Mask:
        """The mask of a tensor; with `--rng torch`, call this in the order of the file.

        Raises:
            TensorError: the settings do not fit the tensor, which the message names.
        """
        try:
            axes = grid_of(tensor.shape, self._dropout.over)
            p = self._probability(tensor)
            decisions = self._decisions(tensor, [axis.cells for axis in axes], p)
        except TensorError as error:
            raise in_tensor(tensor, error) from None
        return Mask(decisions, (Axis(0, 1, 0),) if _has_too_many_decisions(tensor) else axes, p)

    def _p_of_file(self) -> float:
        """The p of the whole file, drawn from the range if there is one."""
        p = self._dropout.p
        if not isinstance(p, Range):
            return p
        key = p_key(self._dropout.seed, self._stream, "", self._copy)
        return float(draw(p, Keystream(key).read(0, 1))[0])

    def _probability(self, tensor: TensorInfo) -> Probability:
        p, over = self._dropout.p, self._dropout.over
        if not isinstance(p, Range) or self._dropout.p_per == "file":
            return self._file_p
        shape = tensor.shape
        if not shape:
            raise TensorError(
                "no-samples",
                "--p-per sample needs samples along dimension 0, but this is a scalar",
                LEAVE_OUT,
            )
        if over is not None and over.resolve(shape).get(0) != 1:
            raise TensorError(
                "shared-between-samples",
                f"--p-per sample: with --over {over}, several samples share a decision",
                "add dimension 0 without a block to --over, or use --p-per file",
            )
        key = p_key(self._dropout.seed, self._stream, tensor.name, self._copy)
        return SampleProbabilities(p, key, 0 if _has_too_many_decisions(tensor) else shape[0])

    def _decisions(self, tensor: TensorInfo, cells: list[int], p: Probability) -> Decisions:
        shape, dropout = tensor.shape, self._dropout
        if self._draws and isinstance(p, float):
            if dropout.over is None:
                return TorchDecisions(self._draws, p, prod(shape), tensor.layout)
            return TorchDecisions(self._draws, p, prod(shape[:2]))

        key = mask_key(dropout.seed, self._stream, tensor.name, self._copy)
        if dropout.over is not None and (dropout.exact or dropout.min_keep):
            axes = _axes(dropout.over, cells, p)
            if tensor.elements and axes.size > MAX_GROUP:
                raise TensorError(
                    "group-too-large",
                    f"a group of {axes.size:,} decisions is too large for --exact and --min-keep: "
                    f"the limit is {MAX_GROUP:,}",
                    "groups run along the last dimension of --over: end with a smaller one, or "
                    "use larger blocks",
                )
            min_keep = dropout.min_keep or 0
            return ExactPerGroup(key, p, axes, exact=dropout.exact, min_keep=min_keep)
        if isinstance(p, SampleProbabilities):
            return BernoulliPerSample(key, p, prod(cells[1:]))
        return Bernoulli(key, p)


def _has_too_many_decisions(tensor: TensorInfo) -> bool:
    """Whether an empty tensor has so many decisions that making them would take days."""
    return not tensor.elements and prod(filter(None, tensor.shape)) > _MAX_IDLE


def _axes(over: Over, cells: list[int], p: Probability) -> Axes:
    """The grid around the last dimension of `--over`, along which groups run."""
    last = over.blocks[-1][0] % len(cells)
    if last == 0 and isinstance(p, SampleProbabilities):
        raise TensorError(
            "group-of-samples",
            f"--p-per sample: with --over {over}, which ends with 0, a group spans samples",
            "write 0 first, as in --over 0,1: a group is then the channels of a sample",
        )
    return Axes(prod(cells[:last]), cells[last], prod(cells[last + 1 :]))
