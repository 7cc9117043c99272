"""The loop: pieces of a source in, dropped on threads, bytes and statistics out in order.

It knows no paths and prints nothing. Memory is a few pieces, whatever the size of the file; the
output is produced strictly in order, so one path serves files, pipes and archives.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dropcli.dropout import Dropout, TensorDropout
from dropcli.report import TensorReport
from dropcli.stats import BLOCK, Summary, summarize
from dropcli.tensors import Extent, Segment, Source, TensorInfo

_PIECE_BYTES = 1 << 20
_PIECE_ELEMENTS = 4 * BLOCK  # numpy calls this long keep threads from queueing for the interpreter
_MOST_WORKERS = 4  # reading and writing bound the work; more workers only take memory

Plans = Mapping[str, TensorDropout]


def plan(tensors: list[TensorInfo], dropout: Dropout, stream: str, copy: int) -> Plans:
    """The tensors to drop, by name; TensorError where the settings do not fit one of them."""
    selected = dropout.select(tensors)
    return {
        tensor.name: dropout.plan(tensor, stream, copy)
        for tensor in tensors
        if tensor.name in selected
    }


def blank_report(tensor: TensorInfo, plans: Plans) -> TensorReport:
    """A tensor's report before its first element."""
    report = TensorReport(tensor.name, tensor.dtype.name, tensor.shape, tensor.elements)
    if tensor.name in plans:
        report.action = "dropped"
        report.decisions = plans[tensor.name].mask.decisions
    return report


def augment(
    source: Source,
    plans: Plans,
    provenance: list[Any] | None,
    write: Callable[[bytes | memoryview], None],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> list[TensorReport]:
    """Write the output of `source` and report on each tensor, in file order.

    `on_bytes` hears the number of bytes of each write.
    """
    reports = {tensor.name: blank_report(tensor, plans) for tensor in source.tensors}
    for name in plans:
        reports[name].before, reports[name].after = Summary(), Summary()

    workers = min(usable_cores(), _MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        counts = {
            name: pool.submit(plan.mask.count_dropped)
            for name, plan in plans.items()
            if not plan.mask.per_element
        }
        for done in _in_order(pool, source, _pieces(source.segments(provenance), plans), workers):
            write(done.data)
            on_bytes(len(done.data))
            for part in done.parts:
                _merge(reports[part.name], part)
        for name, report in reports.items():
            report.dropped = counts[name].result() if name in counts else report.elements_dropped

    return list(reports.values())


def usable_cores() -> int:
    """The cores this process may run on, which a container or `taskset` may have narrowed."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Part:
    """A run of bytes in a piece: elements of one tensor to drop, or (plan None) bytes to copy."""

    nbytes: int
    plan: TensorDropout | None = None
    first_element: int = 0


@dataclass
class _Piece:
    """What one worker takes at a time: known bytes, or neighbouring parts of the source."""

    offset: int = 0
    nbytes: int = 0
    parts: list[_Part] = field(default_factory=list)
    literal: bytes | None = None


@dataclass
class _PartDone:
    name: str
    elements_dropped: int
    before: list[Summary]
    after: list[Summary]


@dataclass
class _PieceDone:
    buffer: bytearray
    data: bytes | memoryview
    parts: list[_PartDone]


def _pieces(segments: Iterable[Segment], plans: Plans) -> Iterator[_Piece]:
    """Cut the segments into pieces: long ones apart, short neighbours together."""
    piece = _Piece()
    for segment in segments:
        if isinstance(segment, bytes):
            if piece.parts:
                yield piece
            yield _Piece(nbytes=len(segment), literal=segment)
            piece = _Piece()
            continue
        offset = segment.offset
        for part in _parts(segment, plans):
            adjacent = offset == piece.offset + piece.nbytes
            if piece.parts and not (adjacent and piece.nbytes + part.nbytes <= _PIECE_BYTES):
                yield piece
                piece = _Piece()
            if not piece.parts:
                piece.offset = offset
            piece.parts.append(part)
            piece.nbytes += part.nbytes
            offset += part.nbytes
    if piece.parts:
        yield piece


def _parts(extent: Extent, plans: Plans) -> Iterator[_Part]:
    """Cut an extent at whole blocks of statistics, counted from the tensor's start."""
    plan = plans.get(extent.tensor.name) if extent.tensor else None
    if plan is None:
        for start in range(0, extent.nbytes, _PIECE_BYTES):
            yield _Part(min(_PIECE_BYTES, extent.nbytes - start))
        return
    itemsize = plan.tensor.dtype.bits // 8
    step = min(_PIECE_ELEMENTS, _PIECE_BYTES // itemsize)
    for first in range(0, plan.tensor.elements, step):
        count = min(step, plan.tensor.elements - first)
        yield _Part(count * itemsize, plan, first)


def _in_order(
    pool: ThreadPoolExecutor, source: Source, pieces: Iterable[_Piece], workers: int
) -> Iterator[_PieceDone]:
    """Process a few pieces at once, and give them back in order, each until the next is asked."""
    free = [bytearray(_PIECE_BYTES) for _ in range(workers + 1)]
    running: deque[Future[_PieceDone]] = deque()
    for piece in pieces:
        if not free:
            done = running.popleft().result()
            yield done
            free.append(done.buffer)
        buffer = free.pop()
        if not (source.seekable or piece.literal):  # a pipe is read in order, so here
            source.read_into(piece.offset, memoryview(buffer)[: piece.nbytes])
        running.append(pool.submit(_process, source, piece, buffer))
    while running:
        yield running.popleft().result()


def _process(source: Source, piece: _Piece, buffer: bytearray) -> _PieceDone:
    """Read a piece and drop its parts in place; runs on a worker thread."""
    if piece.literal is not None:
        return _PieceDone(buffer, piece.literal, [])
    data = memoryview(buffer)[: piece.nbytes]
    if source.seekable:
        source.read_into(piece.offset, data)

    start, done = 0, []
    for part in piece.parts:
        if part.plan:
            raw = np.frombuffer(data[start : start + part.nbytes], np.uint8)
            done.append(_drop(part.plan, part.first_element, raw))
        start += part.nbytes
    return _PieceDone(buffer, data, done)


def _drop(plan: TensorDropout, first_element: int, raw: "np.typing.NDArray[np.uint8]") -> _PartDone:
    with np.errstate(all="ignore"):  # overflow and NaN are counted, not warned of
        values = plan.kernel.values(raw)
        before = summarize(values)
        finite = not any(summary.nan or summary.inf for summary in before)

        keep = np.empty(len(values), np.bool_)
        plan.mask.keep(first_element, keep)
        plan.kernel.apply(raw, values, keep, finite)

        after = summarize(plan.kernel.values(raw))
    dropped = len(keep) - int(np.count_nonzero(keep))
    return _PartDone(plan.tensor.name, dropped, before, after)


def _merge(report: TensorReport, part: _PartDone) -> None:
    report.elements_dropped += part.elements_dropped
    for whole, summaries in ((report.before, part.before), (report.after, part.after)):
        if whole is not None:
            for summary in summaries:
                whole.merge(summary)
