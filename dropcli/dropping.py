"""Do a piece: read it, drop its elements in place, and sum up what was there before and after."""

from dataclasses import dataclass, field

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from dropcli.application import TensorDropout
from dropcli.layouts import Layout
from dropcli.pieces import GAP, Gather, Part, Piece
from dropcli.stats import Summary, is_finite, summarize
from dropcli.tensors import Late, Source, TensorInfo
from dropcli.wrappers import Kernel


@dataclass
class PartDone:
    """What became of elements of one tensor."""

    name: str
    elements_dropped: int
    before: list[Summary]
    after: list[Summary]


@dataclass(frozen=True)
class InPlace:
    """So many bytes of the output are where they belong."""

    nbytes: int


@dataclass
class PieceDone:
    """What became of a piece: its output, of which some lies in the buffer.

    `checksums` are the CRC-32 and size of each run of bytes, as `Piece.checksums` wants them.
    """

    buffer: bytearray
    output: list[bytes | memoryview | Late | InPlace] = field(default_factory=list)
    parts: list[PartDone] = field(default_factory=list)
    checksums: list[tuple[int, int]] = field(default_factory=list)


def do_piece(source: Source, piece: Piece, buffer: bytearray) -> PieceDone:
    """Read a piece into a buffer that is large enough, and drop its parts in place."""
    data = memoryview(buffer)[: piece.nbytes]
    if source.seekable and piece.nbytes:
        source.read_into(piece.offset, data)

    done = PieceDone(buffer)
    run = slice(0, 0)  # of neighbouring parts, which are written together
    for item in piece.items:
        if isinstance(item, Part):
            start = item.offset - piece.offset
            _process_part(item, data[start : start + item.nbytes], done)
            if run.stop != start:
                done.output.append(data[run])
                run = slice(start, start)
            run = slice(run.start, start + item.nbytes)
        else:
            known = _gather(source, item, done) if isinstance(item, Gather) else item
            done.output += [data[run], known]
            run = slice(run.stop, run.stop)
    done.output.append(data[run])
    return done


def _process_part(part: Part, data: memoryview, done: PieceDone) -> None:
    if part.read:
        done.checksums.append((isal_zlib.crc32(data), len(data)))
    raw = np.frombuffer(data, np.uint8)
    if part.plan:
        done.parts.append(_drop(part.plan, part.first_element, raw))
    for plan in part.placed:
        done.parts.append(_drop_placed(plan, part.offset, raw))
    if part.written:
        done.checksums.append((isal_zlib.crc32(data), len(data)))


def _gather(source: Source, item: Gather, done: PieceDone) -> memoryview:
    """Collect elements from where they lie, near ones in one read, and drop them."""
    tensor = item.segment.tensor
    itemsize = tensor.dtype.bits // 8
    places = item.segment.layout.positions(item.first_element, item.first_element + item.count)
    order = np.argsort(places, kind="stable")
    gathered = np.empty(item.count, f"V{itemsize}")
    gaps = np.flatnonzero(np.diff(places[order]) * itemsize > GAP) + 1
    for near in np.split(order, gaps):
        first, last = int(places[near[0]]), int(places[near[-1]])
        run = bytearray((last + 1 - first) * itemsize)
        source.read_into(tensor.offset + first * itemsize, memoryview(run))
        gathered[near] = np.frombuffer(run, gathered.dtype)[places[near] - first]

    raw = gathered.view(np.uint8)
    if item.plan and tensor.tied_to:
        _drop_tied(item.plan, tensor, places, raw)
    elif item.plan:
        done.parts.append(_drop(item.plan, item.first_element, raw))
    return raw.data


def _drop_tied(
    plan: TensorDropout, tensor: TensorInfo, places: NDArray[np.int64], raw: NDArray[np.uint8]
) -> None:
    """Drop elements as the tensor does whose memory they are, which has reported on them."""
    first = plan.tensor
    layout = first.layout or Layout.row_major(first.shape)
    between = (tensor.offset - first.offset) // (first.dtype.bits // 8)
    logical = layout.logical_at(places + between)
    _apply(plan, plan.kernel_at(logical), raw, plan.mask.keep_at(logical))


def _drop(plan: TensorDropout, first_element: int, raw: NDArray[np.uint8]) -> PartDone:
    """Drop contiguous elements, from this one on."""
    keep = np.empty(len(raw) // (plan.tensor.dtype.bits // 8), np.bool_)
    plan.mask.keep(first_element, keep)
    return _apply(plan, plan.kernel(first_element, len(keep)), raw, keep)


def _drop_placed(plan: TensorDropout, offset: int, raw: NDArray[np.uint8]) -> PartDone:
    """Drop those elements of a tensor whose places are among these bytes of the source."""
    tensor = plan.tensor
    layout = tensor.layout or Layout.row_major(tensor.shape)
    itemsize = tensor.dtype.bits // 8
    start = (offset - tensor.offset) // itemsize
    ranks = layout.rank(start), layout.rank(start + len(raw) // itemsize)
    places, logical = layout.locate(*ranks)

    elements = raw.view(f"V{itemsize}")
    taken = elements[places - start]
    keep = plan.mask.keep_at(logical)
    done = _apply(plan, plan.kernel_at(logical), taken.view(np.uint8), keep)
    elements[places - start] = taken
    return done


def _apply(
    plan: TensorDropout, kernel: Kernel, raw: NDArray[np.uint8], keep: NDArray[np.bool_]
) -> PartDone:
    with np.errstate(all="ignore"):  # overflow and NaN are counted, not warned of
        values = kernel.values(raw)
        before = summarize(values) if plan.statistics else []
        if plan.statistics:
            finite = not any(summary.nan or summary.inf for summary in before)
        else:
            finite = is_finite(values)
        kernel.apply(raw, values, keep, finite)
        after = summarize(kernel.values(raw)) if plan.statistics else []
    dropped = len(keep) - int(np.count_nonzero(keep))
    return PartDone(plan.tensor.name, dropped, before, after)
