"""The contents of files, and differences between two, as lines that fit a screen."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dropcli.cli.terminal.layout import Column, Screen, flow, short, success, table
from dropcli.dropout import shape_text
from dropcli.files import place_of
from dropcli.report import counted, number_text, printable, provenance_line, size_text

if TYPE_CHECKING:
    from dropcli.contents import FileDifference, TensorDifference
    from dropcli.formats import FileInfo

_ROWS = 10  # unless --verbose
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"
_STATUS = {
    "only-in-a": "only in A",
    "only-in-b": "only in B",
    "kind": "other dtype or shape",
    "unknown": "not compared",
}

_VALUES = (
    Column("tensor"),
    *(Column(heading, right=True) for heading in ("mean", "std", "min", "max")),
    *(Column(heading, right=True, counts=True) for heading in ("zeros", "NaN", "inf")),
    Column("histogram", spare=1),
)
_DIFFERENCES = (
    *(Column("tensor"), Column("shape", spare=3), Column("dtype", spare=4), Column("what")),
    *(Column("elements", right=True, spare=5), Column("changed", right=True)),
    *(Column("became 0", right=True), Column("factor", right=True, spare=1)),
    Column("first", spare=2),
)

_INFO = (
    Column("tensor"),
    Column("shape"),
    Column("dtype"),
    Column("elements", right=True, spare=2),
    Column("size", right=True, spare=1),
)


def info_table(info: "FileInfo", verbose: bool, screen: Screen) -> Iterator[str]:
    """The lines that describe a file."""
    shown = info.tensors if verbose else info.tensors[:_ROWS]
    elements = sum(tensor.elements for tensor in info.tensors)
    counts = f"{counted(len(info.tensors), 'tensor')}, {elements:,} elements"
    summary = f"{info.format}, {size_text(info.size)}, {counts}"
    yield from flow(f"{short(printable(info.source), screen)}: {summary}", screen)
    for entry in info.provenance:
        yield from flow(provenance_line(entry), screen)
    for key, value in info.metadata.items():
        if key != "dropcli":
            yield from flow(f"{printable(key)}: {printable(value)}", screen)
    if shown:
        rows = [
            [
                printable(tensor.name),
                "?" if tensor.dtype.name == "?" else shape_text(tensor.shape),
                *(tensor.dtype.name, f"{tensor.elements:,}", size_text(tensor.nbytes)),
            ]
            for tensor in shown
        ]
        yield ""
        yield from table(_INFO, rows, screen)
    if info.statistics is not None and shown:
        numbers = [(tensor.name, info.statistics[tensor.name]) for tensor in shown]
        yield ""
        yield from table(_VALUES, [_value_row(name, of, screen) for name, of in numbers], screen)
    if more := len(info.tensors) - len(shown):
        yield f"{counted(more, 'more tensor')}; -v shows all"


def _value_row(name: str, statistics: dict[str, Any] | None, screen: Screen) -> list[str]:
    if statistics is None:
        return [printable(name), *[""] * 7, "no numbers"]
    histogram = statistics["histogram"]
    cells = [number_text(value) for key, value in statistics.items() if key != "histogram"]
    bars = _PLAIN_BARS if not screen.utf8 else _BARS
    return [printable(name), *cells, _bars(histogram["counts"], bars) if histogram else ""]


def _bars(counts: list[int], signs: str) -> str:
    """A bar for each bin; an empty bin is a blank."""
    most = max(counts)
    tops = (-(-count * len(signs) // most) for count in counts)
    return "".join(signs[top - 1] if top else " " for top in tops).rstrip()


def difference_table(found: "FileDifference", verbose: bool, screen: Screen) -> Iterator[str]:
    """The lines that show the differences between two files."""
    before, after = (short(printable(place_of(p)), screen) for p in (found.before, found.after))
    yield from flow(f"A {before}", screen)
    yield from flow(f"B {after}", screen)
    different = [tensor for tensor in found.tensors if tensor.status != "equal"]
    shown = found.tensors if verbose else different[:_ROWS]
    if shown:
        yield ""
        yield from table(_DIFFERENCES, [_difference_row(t, screen) for t in shown], screen)
    yield ""
    if (more := len(different) - len(shown)) > 0:
        yield f"{counted(more, 'more tensor')}; -v shows all"
    equal = len(found.tensors) - len(different)
    if different:
        yield from flow(f"{counted(equal, 'tensor')} equal, {len(different):,} different", screen)
    else:
        yield from success(f"{counted(equal, 'tensor')}, all equal", screen)


def _difference_row(tensor: "TensorDifference", screen: Screen) -> list[str]:
    kinds = [(shape_text(t.shape), t.dtype.name) for t in (tensor.before, tensor.after) if t]
    arrow = f" {screen.arrow} "
    shape, dtype = (arrow.join(dict.fromkeys(part)) for part in zip(*kinds, strict=True))
    row = [printable(tensor.name), shape, dtype, _STATUS.get(tensor.status, tensor.status)]
    if tensor.status != "changed":
        return [*row, *[""] * 5]
    factor = number_text(tensor.factor)
    if tensor.factor is None and tensor.factor_min is not None:
        factor = f"{number_text(tensor.factor_min)} to {number_text(tensor.factor_max)}"
    first = ""
    if tensor.first:
        index, *both = tensor.first
        numbers = (n if isinstance(n, str) else number_text(n) for n in both)
        first = f"{list(index)}: {arrow.join(numbers)}"
    counts = (tensor.elements, tensor.changed, tensor.zeroed)
    return [*row, *(f"{count:,}" for count in counts), factor, first]
