"""The loop: pieces of a source in, dropped on all cores, bytes and statistics out in order.

It knows no paths and prints nothing. Memory is a few pieces, whatever the size of the file; the
output is produced strictly in order, so one path serves files, pipes and archives.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from dropcli.application import Application
from dropcli.chances import Spread, spread_of
from dropcli.cores import Inline, Threads
from dropcli.dropout import Dropout
from dropcli.dropping import InPlace, PartDone
from dropcli.errors import TensorError
from dropcli.pieces import PIECE_BYTES, Plans, cut
from dropcli.report import TensorReport
from dropcli.stats import Summary
from dropcli.teams import Placed, doing
from dropcli.tensors import Late, Source, TensorInfo

Write = Callable[[bytes | memoryview], None]


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
    write: Write,
    on_bytes: Callable[[int], None] = lambda count: None,
    placed: Placed | None = None,
) -> list[TensorReport]:
    """Write the output of `source` and report on each tensor, in file order.

    `on_bytes` hears the number of bytes of each write. `placed` is what `write` writes to, if that
    takes bytes in any order.
    """
    reports = {report.name: report for report in blank_reports(source.tensors, plans)}
    for plan in plans.values():
        if plan.statistics:
            report = reports[plan.tensor.name]
            report.before, report.after = Summary(), Summary()
    masks = [(plan.tensor.name, plan.mask) for plan in plans.values() if not plan.mask.per_element]

    with (
        doing(source, lambda: cut(source.segments(provenance), plans), placed) as done,
        Threads(1) if masks and source.size > PIECE_BYTES else Inline() as pool,
    ):
        counts = [(name, pool.submit(mask.count_dropped)) for name, mask in masks]
        for piece, result in done:
            for checksum, (crc, nbytes) in zip(piece.checksums, result.checksums, strict=True):
                checksum.add(crc, nbytes)
            for item in result.output:
                on_bytes(_put(item, write, placed))
            for part in result.parts:
                _merge(reports[part.name], part)
        counted = {name for name, _ in counts}
        for report in reports.values():
            report.dropped = 0 if report.name in counted else report.elements_dropped
        for name, count in counts:
            reports[name].dropped += count.result()

    return list(reports.values())


def _put(item: bytes | memoryview | Late | InPlace, write: Write, placed: Placed | None) -> int:
    """Write it, unless it is there; gives its size."""
    if isinstance(item, InPlace):
        assert placed is not None
        placed.advance(item.nbytes)
        return item.nbytes
    data = item.make() if isinstance(item, Late) else item
    write(data)
    return len(data)


def _merge(report: TensorReport, part: PartDone) -> None:
    report.elements_dropped += part.elements_dropped
    for whole, summaries in ((report.before, part.before), (report.after, part.after)):
        if whole is not None:
            for summary in summaries:
                whole.merge(summary)
