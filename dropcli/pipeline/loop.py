"""The loop: pieces of a source in, dropped on threads, bytes and statistics out in order.

It knows no paths and prints nothing. Memory is a few pieces, whatever the size of the file; the
output is produced strictly in order, so one path serves files, pipes and archives.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from dropcli.dropout.settings import Dropout
from dropcli.dropout.wrappers import Kernel
from dropcli.errors import TensorError
from dropcli.formats import Checksum, Deferred, Source
from dropcli.masks.probability import Spread, spread_of
from dropcli.parallel.threads import Inline, Threads, usable_cores
from dropcli.pipeline.pieces import GAP, PIECE_BYTES, Gather, Part, Piece, Plans, cut
from dropcli.pipeline.recipe import Application, TensorDropout
from dropcli.pipeline.report import TensorReport
from dropcli.pipeline.stats import Summary, is_finite, summarize
from dropcli.tensors import TensorInfo

_MOST_WORKERS = 4  # reading and writing bound the work; more workers only take memory


def plan(
    source: Source, dropout: Dropout, stream: str, copy: int, *, statistics: bool = True
) -> Plans:
    """The tensors to drop, by name; TensorError where the settings do not fit one of them."""
    selected = dropout.select(source.tensors)
    source.check_selected(selected)
    for tensor in source.tensors:
        if tensor.tied_to and (tensor.name in selected) != (tensor.tied_to in selected):
            raise TensorError(
                "half-of-a-tie",
                f"tensor '{tensor.name}': expected to be dropped or not as '{tensor.tied_to}' is, "
                "whose memory it shares, got one of them alone",
                "choose both or neither",
            )
    application = Application(dropout, stream, copy, statistics=statistics)
    return {
        tensor.name: application.plan(tensor)
        for tensor in source.tensors
        if tensor.name in selected and not tensor.tied_to
    }


def blank_reports(tensors: Iterable[TensorInfo], plans: Plans) -> list[TensorReport]:
    """The tensors' reports before their first elements."""
    decisions: Counter[str] = Counter()
    chances: defaultdict[str, list[Spread]] = defaultdict(list)
    for plan in plans.values():
        decisions[plan.tensor.name] += plan.mask.decisions
        if chance := plan.chance():
            chances[plan.tensor.name].append(chance)
    reports = []
    for tensor in tensors:
        report = TensorReport(tensor.name, tensor.dtype.name, tensor.shape, tensor.elements)
        if tensor.name in decisions:
            report.action, report.decisions = "dropped", decisions[tensor.name]
            report.chance = spread_of(chances[tensor.name])
        elif tensor.tied_to in decisions:
            report.action, report.tied_to = "tied", tensor.tied_to
        reports.append(report)
    return reports


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
    reports = {report.name: report for report in blank_reports(source.tensors, plans)}
    for plan in plans.values():
        if plan.statistics:
            report = reports[plan.tensor.name]
            report.before, report.after = Summary(), Summary()

    # A thread takes as long to start as a small file to drop.
    workers = 0 if source.size <= PIECE_BYTES else min(usable_cores(), _MOST_WORKERS)
    with Threads(workers) if workers else Inline() as pool:
        counts = [
            (plan.tensor.name, pool.submit(plan.mask.count_dropped))
            for plan in plans.values()
            if not plan.mask.per_element
        ]
        for done in _in_order(pool, source, cut(source.segments(provenance), plans), workers):
            for checksum, crc, nbytes in done.checksums:
                checksum.add(crc, nbytes)
            for item in done.output:
                data = item.make() if isinstance(item, Deferred) else item
                write(data)
                on_bytes(len(data))
            for part in done.parts:
                _merge(reports[part.name], part)
        counted = {name for name, _ in counts}
        for report in reports.values():
            report.dropped = 0 if report.name in counted else report.elements_dropped
        for name, count in counts:
            reports[name].dropped += count.result()

    return list(reports.values())


@dataclass
class _PartDone:
    name: str
    elements_dropped: int
    before: list[Summary]
    after: list[Summary]


@dataclass
class _PieceDone:
    buffer: bytearray
    output: list[bytes | memoryview | Deferred] = field(default_factory=list)
    parts: list[_PartDone] = field(default_factory=list)
    checksums: list[tuple[Checksum, int, int]] = field(default_factory=list)


def _in_order(
    pool: Executor, source: Source, pieces: Iterable[Piece], workers: int
) -> Iterator[_PieceDone]:
    """Process a few pieces at once, and give them back in order, each until the next is asked."""
    free: list[bytearray] = []
    running: deque[Future[_PieceDone]] = deque()
    for piece in pieces:
        if len(running) > workers:
            done = running.popleft().result()
            yield done
            free.append(done.buffer)
        buffer = free.pop() if free else bytearray()
        if len(buffer) < piece.nbytes:
            buffer = bytearray(piece.nbytes)
        if not source.seekable:  # a pipe is read in order, so here
            source.read_into(piece.offset, memoryview(buffer)[: piece.nbytes])
        running.append(pool.submit(_process, source, piece, buffer))
    while running:
        yield running.popleft().result()


def _process(source: Source, piece: Piece, buffer: bytearray) -> _PieceDone:
    """Read a piece and drop its parts in place; runs on a worker thread."""
    data = memoryview(buffer)[: piece.nbytes]
    if source.seekable and piece.nbytes:
        source.read_into(piece.offset, data)

    done = _PieceDone(buffer)
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


def _process_part(part: Part, data: memoryview, done: _PieceDone) -> None:
    if part.read:
        done.checksums.append((part.read, isal_zlib.crc32(data), len(data)))
    raw = np.frombuffer(data, np.uint8)
    if part.plan:
        done.parts.append(_drop(part.plan, part.first_element, raw))
    for plan in part.placed:
        done.parts.append(_drop_placed(plan, part.offset, raw))
    if part.written:
        done.checksums.append((part.written, isal_zlib.crc32(data), len(data)))


def _gather(source: Source, item: Gather, done: _PieceDone) -> memoryview:
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
    layout = first.elements_layout
    between = (tensor.offset - first.offset) // (first.dtype.bits // 8)
    logical = layout.logical_at(places + between)
    _apply(plan, plan.kernel_at(logical), raw, plan.mask.keep_at(logical))


def _drop(plan: TensorDropout, first_element: int, raw: NDArray[np.uint8]) -> _PartDone:
    """Drop contiguous elements, from this one on."""
    keep = np.empty(len(raw) // (plan.tensor.dtype.bits // 8), np.bool_)
    plan.mask.keep(first_element, keep)
    return _apply(plan, plan.kernel(first_element, len(keep)), raw, keep)


def _drop_placed(plan: TensorDropout, offset: int, raw: NDArray[np.uint8]) -> _PartDone:
    """Drop those elements of a tensor whose places are among these bytes of the source."""
    tensor = plan.tensor
    layout = tensor.elements_layout
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
) -> _PartDone:
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
    return _PartDone(plan.tensor.name, dropped, before, after)


def _merge(report: TensorReport, part: _PartDone) -> None:
    report.elements_dropped += part.elements_dropped
    for whole, summaries in ((report.before, part.before), (report.after, part.after)):
        if whole is not None:
            for summary in summaries:
                whole.merge(summary)
