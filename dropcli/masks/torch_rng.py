"""The masks of torch's own generator: `--rng torch`.

They are the masks of `torch.manual_seed(seed)` followed by `nn.Dropout` or `nn.Dropout2d` on one
tensor after another, on the CPU, with the installed torch. Its generator is sequential. So
decisions are drawn in order as needed, and stored as bits in a temporary file for random access.
"""

import os
import weakref
from collections import deque
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Keep
from dropcli.errors import located, needing
from dropcli.tensors import Indices, Layout

_CHUNK = 1 << 18  # decisions drawn at a time; the number does not change them
_GAP = 64  # bytes: reading a smaller gap is cheaper than a second read


def drawn_stream() -> str:
    """A stream name from torch's default generator, whose seed differs between workers."""
    with needing("torch"):
        import torch
    return str(torch.empty((), dtype=torch.int64).random_().item())


class TorchDraws:
    """The decisions of all tensors of a file as bits; each tensor begins at a new byte."""

    def __init__(self, seed: int) -> None:
        with needing("torch"):
            import torch

        self._torch = torch
        self._generator = torch.Generator().manual_seed(seed)
        with located("temporary file"):
            import tempfile  # slow to import, and rarely needed

            file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this object
        weakref.finalize(self, file.close)
        self._fd = file.fileno()
        self._lock = Lock()
        self._waiting: deque[tuple[int, float]] = deque()
        self._end = 0  # in bits, like all places here
        self._drawn = 0

    def add(self, decisions: int, p: float) -> int:
        """Append the decisions of a tensor; return the place of the first one, in bits."""
        start = self._end
        self._end += -(-decisions // 8) * 8
        self._waiting.append((decisions, p))
        return start

    def read(self, start: int, out: Keep) -> None:
        """Write the decisions that begin at this place to `out`, shape (n,)."""
        stop = start + len(out)
        self._draw_until(stop)
        bits = self._bits(start // 8, -(-stop // 8))
        out[:] = bits[start % 8 :][: len(out)]

    def read_at(self, places: Indices) -> Keep:
        """The decisions at these places, shape (n,)."""
        keep = np.empty(len(places), np.bool_)
        if not len(places):
            return keep
        self._draw_until(int(places.max()) + 1)
        order = np.argsort(places, kind="stable")
        for near in np.split(order, np.flatnonzero(np.diff(places[order]) > 8 * _GAP) + 1):
            first, last = int(places[near[0]]) // 8, int(places[near[-1]]) // 8
            keep[near] = self._bits(first, last + 1)[places[near] - 8 * first]
        return keep

    def _bits(self, first: int, last: int) -> NDArray[np.uint8]:
        data = os.pread(self._fd, last - first, first)
        return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")

    def _draw_until(self, stop: int) -> None:
        with self._lock, located("temporary file"):
            while self._drawn < stop:
                decisions, p = self._waiting.popleft()
                count = min(decisions, _CHUNK)
                drawn = self._torch.empty(count, dtype=self._torch.bool)
                drawn.bernoulli_(1 - p, generator=self._generator)
                data = np.packbits(drawn.numpy(), bitorder="little")
                os.pwrite(self._fd, data.tobytes(), self._drawn // 8)
                self._drawn += 8 * len(data)
                if count < decisions:
                    self._waiting.appendleft((decisions - count, p))


class TorchDecisions:
    """The decisions of one tensor. Create them in the order of the file.

    torch draws for elements in the order of memory, given by `layout` (None for row-major), and for
    channels in row-major order. For a p of 0 or 1 it draws nothing.
    """

    def __init__(
        self, draws: TorchDraws, p: float, decisions: int, layout: Layout | None = None
    ) -> None:
        self._draws = draws
        self._layout = layout
        self._same = p == 0 if p in (0, 1) else None  # one decision for all
        self._start = draws.add(decisions, p) if self._same is None else 0

    def decide(self, start: int, out: Keep) -> None:
        if self._same is not None:
            out[:] = self._same
        elif self._layout:
            out[:] = self.decide_at(np.arange(start, start + len(out)))
        else:
            self._draws.read(self._start + start, out)

    def decide_at(self, cells: Indices) -> Keep:
        if self._same is not None:
            return np.full(len(cells), self._same)
        ranks = self._layout.ranks(cells) if self._layout else cells
        return self._draws.read_at(self._start + ranks)
