"""What files hold, as lines that fit a screen: `dropcli info`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dropcli.cli.terminal.layout import Column, Screen, flow, short, table
from dropcli.dropout import shape_text
from dropcli.report import counted, printable, provenance_line, size_text

if TYPE_CHECKING:
    from dropcli.formats import FileInfo

_ROWS = 10  # unless --verbose

_INFO = (
    Column("tensor"),
    Column("shape"),
    Column("dtype"),
    Column("elements", right=True, spare=2),
    Column("size", right=True, spare=1),
)


def info_table(info: "FileInfo", verbose: bool, screen: Screen) -> Iterator[str]:
    """What a file holds."""
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
    if more := len(info.tensors) - len(shown):
        yield f"{counted(more, 'more tensor')}; -v shows all"
