"""The main loop: pieces of a source are dropped on threads and written in order.

It knows no paths and prints nothing. It needs the memory of a few pieces for files of any size.
The output is produced strictly in order, so the same code serves files, pipes and archives.
"""

import os
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from dropcli.dropout import Dropout
from dropcli.errors import TensorError
from dropcli.formats import Checksum, Deferred, Gathered, Made, Segment, Source, elements_at
from dropcli.masks import FileMasks, RateSummary, combined
from dropcli.parallel import Threads, usable_cores
from dropcli.pipeline.blocks import Dropped, drop_elements, drop_run, drop_scattered
from dropcli.pipeline.pieces import PIECE_BYTES, Gather, Part, Piece, Recipes, cut
from dropcli.pipeline.recipe import Recipe, recipe_for
from dropcli.pipeline.report import TensorReport
from dropcli.pipeline.stats import MAX_SAMPLED, Sample, Summary
from dropcli.tensors import TensorInfo

_MAX_WORKERS = 4  # reading and writing limit the speed; more workers only need more memory

R = TypeVar("R")


def recipes_for(
    source: Source,
    dropout: Dropout,
    selected: Collection[str],
    stream: str,
    copy: int,
    *,
    statistics: bool = True,
    sample: int = 0,
) -> Recipes:
    """The recipes of the selected tensors. Raises TensorError if the settings do not fit one.

    `sample` is the number of elements to sample from each of the first tensors.
    """
    source.check_selected(selected)
    for tensor in source.tensors:
        if tensor.tied_to and (tensor.name in selected) != (tensor.tied_to in selected):
            raise TensorError(
                "half-of-a-tie",
                f"tensors '{tensor.tied_to}' and '{tensor.name}' share memory, and only one is "
                "selected",
                "select both or neither",
            )
    masks = FileMasks(dropout, stream, copy)
    dropped = [
        tensor for tensor in source.tensors if tensor.name in selected and not tensor.tied_to
    ]
    phase = zlib.crc32(b"%d/%b" % (copy, os.fsencode(stream)))
    make = partial(recipe_for, dropout, masks, statistics=statistics, phase=phase)
    return {
        tensor.name: make(tensor, sample=sample if number < MAX_SAMPLED else 0)
        for number, tensor in enumerate(dropped)
    }


def initial_reports(
    tensors: Iterable[TensorInfo],
    recipes: Recipes,
    reasons: Mapping[str, str] | None = None,
) -> list[TensorReport]:
    """Reports without counts; `reasons` say why some tensors are copied."""
    decisions: Counter[str] = Counter()
    rates: defaultdict[str, list[RateSummary]] = defaultdict(list)
    for recipe in recipes.values():
        decisions[recipe.tensor.name] += recipe.mask.decisions
        if rate := recipe.rate():
            rates[recipe.tensor.name].append(rate)
    reports = []
    for tensor in tensors:
        report = TensorReport(tensor.name, tensor.dtype.name, tensor.shape, tensor.elements)
        if tensor.name in decisions:
            report.action, report.decisions = "dropped", decisions[tensor.name]
            report.asked = combined(rates[tensor.name])
        elif tensor.tied_to in decisions:
            report.action, report.tied_to = "tied", tensor.tied_to
        else:
            report.reason = (reasons or {}).get(tensor.name)
        reports.append(report)
    return reports


def augment(
    source: Source,
    recipes: Recipes,
    reports: list[TensorReport],
    segments: Iterable[Segment],
    write: Callable[[bytes | memoryview], None],
) -> None:
    """Write these segments of `source`, and fill in the reports on its tensors."""
    named = {report.name: report for report in reports}
    for recipe in recipes.values():
        report = named[recipe.tensor.name]
        if recipe.statistics:
            report.before, report.after = Summary(), Summary()
        if recipe.sample:
            report.sample = Sample()

    # Starting a thread takes as long as dropping a small file.
    workers = 0 if source.size <= PIECE_BYTES else min(usable_cores(), _MAX_WORKERS)
    with Threads(workers) if workers else nullcontext() as pool:
        counts = [
            (recipe.tensor.name, _start(pool, recipe.mask.count_dropped))
            for recipe in recipes.values()
            if not recipe.mask.per_element
        ]
        for done in _in_order(pool, source, cut(segments, recipes), workers):
            for checksum, crc, nbytes in done.checksums:
                checksum.add(crc, nbytes)
            for item in done.output:
                write(item.make() if isinstance(item, Deferred) else item)
            for part in done.parts:
                _merge(named[part.name], part)
        counted = {name for name, _ in counts}
        for report in reports:
            report.dropped = 0 if report.name in counted else report.elements_dropped
            report.counted = True
        for name, count in counts:
            named[name].dropped += count()


def _start(pool: Executor | None, work: Callable[[], R]) -> Callable[[], R]:
    """Start work on a thread, if there are threads; return a function that waits for the result."""
    return pool.submit(work).result if pool else work


@dataclass
class _PieceDone:
    buffer: bytearray
    output: list[bytes | memoryview | Deferred] = field(default_factory=list)
    parts: list[Dropped] = field(default_factory=list)
    checksums: list[tuple[Checksum, int, int]] = field(default_factory=list)


def _in_order(
    pool: Executor | None, source: Source, pieces: Iterable[Piece], workers: int
) -> Iterator[_PieceDone]:
    """Process several pieces at once; yield them in order. Each is valid until the next one."""
    free: list[bytearray] = []
    running: deque[Callable[[], _PieceDone]] = deque()
    for piece in pieces:
        if len(running) > workers:
            done = running.popleft()()
            yield done
            free.append(done.buffer)
        buffer = free.pop() if free else bytearray()
        if len(buffer) < piece.nbytes:
            buffer = bytearray(piece.nbytes)
        if not source.seekable:  # a pipe must be read in order
            source.read_into(piece.offset, memoryview(buffer)[: piece.nbytes])
        running.append(_start(pool, partial(_process, source, piece, buffer)))
    while running:
        yield running.popleft()()


def _process(source: Source, piece: Piece, buffer: bytearray) -> _PieceDone:
    """Read a piece and drop its parts in place; called on a worker thread."""
    data = memoryview(buffer)[: piece.nbytes]
    if source.seekable and piece.nbytes:
        source.read_into(piece.offset, data)

    done = _PieceDone(buffer)
    run = slice(0, 0)  # of adjacent parts, which are written together
    for item in piece.items:
        if isinstance(item, Part):
            start = item.offset - piece.offset
            _process_part(item, data[start : start + item.nbytes], done)
            if run.stop != start:
                done.output.append(data[run])
                run = slice(start, start)
            run = slice(run.start, start + item.nbytes)
        else:
            known = _collect(source, item, done) if isinstance(item, Gather) else item
            done.output += [data[run], known]
            run = slice(run.stop, run.stop)
    done.output.append(data[run])
    return done


def _process_part(part: Part, data: memoryview, done: _PieceDone) -> None:
    if part.read:
        done.checksums.append((part.read, isal_zlib.crc32(data), len(data)))
    raw = np.frombuffer(data, np.uint8)
    if part.recipe:
        done.parts.append(drop_run(part.recipe, part.first_element, raw))
    for recipe in part.placed:
        done.parts.append(_drop_placed(recipe, part.offset, raw))
    if part.written:
        done.checksums.append((part.written, isal_zlib.crc32(data), len(data)))


def _collect(source: Source, item: Gather, done: _PieceDone) -> memoryview:
    if isinstance(item.segment, Made):
        return _make(item, item.segment, done)
    return _gather(source, item, item.segment, done)


def _make(item: Gather, segment: Made, done: _PieceDone) -> memoryview:
    """The mask of elements, one byte each: 1 where they are kept."""
    tensor, recipe = segment.tensor, item.recipe
    if recipe is None:
        keep = np.ones(item.count, np.bool_)
    elif tensor.tied_to:
        last = item.first_element + item.count
        places = tensor.elements_layout.positions(item.first_element, last)
        keep = recipe.mask.keep_at(_logical_in_owner(recipe.tensor, tensor, places))
    else:
        keep = recipe.mask.kept(item.first_element, item.count)
        done.parts.append(Dropped(recipe.tensor.name, item.count - int(np.count_nonzero(keep))))
    data = keep.view(np.uint8).data
    if segment.written:
        done.checksums.append((segment.written, isal_zlib.crc32(data), len(data)))
    return data


def _gather(source: Source, item: Gather, segment: Gathered, done: _PieceDone) -> memoryview:
    """Collect scattered elements, and drop them."""
    tensor = segment.tensor
    places = segment.layout.positions(item.first_element, item.first_element + item.count)
    raw = elements_at(source, tensor, places).view(np.uint8)
    if item.recipe and tensor.tied_to:
        _drop_tied(item.recipe, tensor, places, raw)
    elif item.recipe:
        done.parts.append(drop_run(item.recipe, item.first_element, raw))
    return raw.data


def _drop_tied(
    recipe: Recipe, tensor: TensorInfo, places: NDArray[np.int64], raw: NDArray[np.uint8]
) -> None:
    """Drop elements by the decisions of the tensor that owns the memory, which counts them."""
    drop_scattered(recipe, _logical_in_owner(recipe.tensor, tensor, places), raw)


def _logical_in_owner(
    owner: TensorInfo, tensor: TensorInfo, places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The logical indices in the owner of the memory of elements of a tensor tied to it."""
    between = (tensor.offset - owner.offset) // (owner.dtype.bits // 8)
    return owner.elements_layout.logical_at(places + between)


def _drop_placed(recipe: Recipe, offset: int, raw: NDArray[np.uint8]) -> Dropped:
    """Drop the elements of a tensor that are in these bytes of the source."""
    tensor = recipe.tensor
    itemsize = tensor.dtype.bits // 8
    start = (offset - tensor.offset) // itemsize
    places, logical = tensor.elements_layout.within(start, start + len(raw) // itemsize)

    elements = raw.view(f"V{itemsize}")
    taken = elements[places - start]
    keep = recipe.mask.keep_at(logical)
    dropped = Dropped(tensor.name)
    sampled = recipe.sampled(logical) if recipe.stride else None
    if sampled is not None:
        dropped.sample.before.append(recipe.values(taken[sampled]))
    drop_elements(recipe, recipe.kernel_at(logical), taken.view(np.uint8), keep, dropped)
    if sampled is not None:
        dropped.sample.after.append(recipe.values(taken[sampled]))
    elements[places - start] = taken
    return dropped


def _merge(report: TensorReport, part: Dropped) -> None:
    report.elements_dropped += part.elements
    if report.sample:
        report.sample.merge(part.sample)
    for whole, summaries in ((report.before, part.before), (report.after, part.after)):
        if whole is not None:
            for summary in summaries:
                whole.merge(summary)
