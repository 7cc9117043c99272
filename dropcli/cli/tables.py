"""The tables of the report and of `dropcli info`, as lines and rich tables.

Names of files and tensors are data: control characters are shown escaped, brackets are never
markup.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dropcli.cli.text import (
    counted,
    number_text,
    printable,
    provenance_line,
    settings_text,
    size_text,
)
from dropcli.dropout import shape_text
from dropcli.errors import STDOUT_NAME
from dropcli.files import STDOUT, place_of
from dropcli.pipeline import asked

if TYPE_CHECKING:
    from dropcli.dataset import Request, Tally, Verdict
    from dropcli.formats import FileInfo
    from dropcli.pipeline import FileReport, TensorReport

_ROWS = 10  # of a table, unless more are asked for
_NAME_ROWS = 20  # of a table of tensor names, unless more are asked for
_FOLDERS_SHOWN = 5
_NAME_WIDTH = 12
BETWEEN = 2  # spaces that rich puts between columns


def file_table(
    file: "FileReport", settings: dict[str, Any], verbose: bool, arrow: str
) -> Iterator[str | Table]:
    """What was done to a file; `settings` are those of the report."""
    # What was dropped comes first, lest the first few are all copied.
    tensors = sorted(file.tensors, key=lambda tensor: tensor.action != "dropped")
    shown = tensors if verbose else tensors[:_ROWS]
    source = printable(place_of(file.source))
    output = STDOUT_NAME if file.output == STDOUT else printable(file.output)
    yield f"{source} {arrow} {output}  {size_text(file.size)}"
    yield settings_text(settings, file.stream)
    if shown:
        yield ""
        yield _masks_table(shown, settings)
    if any(tensor.after for tensor in shown):
        yield ""
        yield _statistics_table(shown)
    yield ""
    if len(shown) < len(tensors):
        yield f"{len(tensors) - len(shown):,} more tensors; -v or --stats shows them all"
    if off := [abs(tensor.deviation) for tensor in tensors if tensor.deviation is not None]:
        yield f"rates differ from p by {number_text(max(off))} at most"
    yield _totals_line(file)


def _masks_table(tensors: list["TensorReport"], settings: dict[str, Any]) -> Table:
    rows = []
    for tensor in tensors:
        row = [printable(tensor.name), shape_text(tensor.shape), tensor.dtype]
        if tensor.action != "dropped":
            row += ["", tensor.action, "", ""]
        else:
            done = tensor.after is not None
            p = _asked_text(tensor, settings)
            dropped = [f"{tensor.dropped:,}", p, number_text(tensor.rate)] if done else ["", p, ""]
            row += [f"{tensor.decisions:,}", *dropped]
        rows.append(row)
    return _table(("tensor", "shape", "dtype", ">decisions", ">dropped", ">asked", ">rate"), rows)


def _asked_text(tensor: "TensorReport", settings: dict[str, Any]) -> str:
    """The p that the rate comes near to; of one for each sample the mean."""
    p = asked(tensor.document(), settings)
    return "" if p is None else f"{p:.4g}" if tensor.asked else f"{p:g}"


def _statistics_table(tensors: list["TensorReport"]) -> Table:
    rows = []
    for tensor in tensors:
        if tensor.before and tensor.after:
            before, after = tensor.before.document(), tensor.after.document()
            values = [[number_text(side[key]) for side in (before, after)] for key in before]
            rows.append([printable(tensor.name), "before\nafter", *map("\n".join, values)])
    headings = ("tensor", "", ">mean", ">std", ">min", ">max", ">zeros", ">NaN", ">inf")
    return _table(headings, rows)


def _totals_line(file: "FileReport") -> str:
    dropped = [tensor for tensor in file.tensors if tensor.action == "dropped"]
    decisions = sum(tensor.decisions for tensor in dropped)
    count = sum(tensor.dropped for tensor in dropped)
    copied = f"{len(file.tensors) - len(dropped):,} copied"
    if file.status == "planned":
        return (
            f"dry run: nothing written; {counted(len(dropped), 'tensor')} to drop "
            f"({decisions:,} decisions), {copied}"
        )
    rate = f", rate {count / decisions:.4f}" if decisions else ""
    return f"{counted(len(dropped), 'tensor')} dropped ({count:,} of {decisions:,}{rate}), {copied}"


def dataset_table(
    tally: "Tally", request: "Request", settings: dict[str, Any], verbose: bool, arrow: str
) -> Iterator[str | Table]:
    """What was done to the files of a dataset."""
    yield settings_text(settings, None)
    yield ""
    if verbose and (files := tally.files):
        yield _files_table([file.document() for file in files], arrow)
        yield ""
    if tally.names.rows() and not settings["eval"]:
        yield from _names_table(tally, verbose, dry_run=request.dry_run)
        yield ""
    rows = dict(_dataset_rows(tally, request, settings))
    width = max(map(len, rows))
    yield from (f"{name:{width}}  {value}" for name, value in rows.items())


def _dataset_rows(
    tally: "Tally", request: "Request", settings: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    verb = "to write" if request.dry_run else "replaced" if request.output is None else "written"
    size = f", {size_text(tally.nbytes)}" if tally.written else ""
    yield verb, f"{counted(tally.written, 'file')}{size}"
    if tally.kept_names:
        names = dict.fromkeys(os.path.join(request.output or "", n) for n in tally.kept_names)
        more = ", ..." if len(names) > _FOLDERS_SHOWN else ""
        shown = printable(", ".join([*names][:_FOLDERS_SHOWN]))
        yield "layout", f"each folder keeps its name: {shown}{more}"
    if request.copies:
        original = ", and the original" if request.keep_original else ""
        where = ", in one file" if request.concat else ""
        yield "copies", f"{request.copies:,} of each file{original}{where}"
    if tally.skipped:
        yield "done before", counted(tally.skipped, "file")
    if tally.errors:
        yield "failed", counted(len(tally.errors), "file")
    if tally.missed:
        yield "not tried", counted(tally.missed, "file")
    if tally.unselected and not settings["eval"]:
        yield "nothing selected", f"in {counted(tally.unselected, 'file')}, copied"
    if tally.left:
        yield "left", f"{counted(tally.left, 'file')} of other kinds"
    total = tally.names.total
    if request.dry_run:
        yield "dry run", f"nothing written; {total.decisions:,} decisions to make"
    elif total.rate is not None and not settings["eval"]:
        yield "dropped", f"{total.dropped:,} of {total.decisions:,} decisions"
        yield "rate", f"asked {total.asked:.6g}, realised {total.rate:.6f}"


def _names_table(tally: "Tally", verbose: bool, *, dry_run: bool) -> Iterator[str | Table]:
    """What was done to the tensors of each name, over all files."""
    names = [(printable(name), totals) for name, totals in tally.names.rows()]
    shown = names if verbose else names[:_NAME_ROWS]
    if verbose and tally.names.rest != type(tally.names.rest)():
        shown.append(("(all other names)", tally.names.rest))
    rows = []
    for name, totals in shown:
        files = [f"{count:,}" if count else "" for count in (totals.dropped_in, totals.copied_in)]
        row = [name, *files, printable(", ".join(sorted(totals.reasons)))]
        if not totals.decisions:
            row += [""] * 4
        elif dry_run:
            row += [f"{totals.decisions:,}", "", number_text(totals.asked), ""]
        else:
            row += [f"{totals.decisions:,}", f"{totals.dropped:,}"]
            row += [number_text(totals.asked), number_text(totals.rate)]
        rows.append(row)
    files_columns = (">dropped in", ">copied in", "why copied")
    yield _table(("tensor", *files_columns, ">decisions", ">dropped", ">asked", ">rate"), rows)
    if len(names) > len(shown):
        yield f"{len(names) - len(shown):,} more names; -v shows them"


def _files_table(files: list[dict[str, Any]], arrow: str) -> Table:
    rows = []
    for file in files:
        dropped = [tensor for tensor in file["tensors"] if tensor["action"] == "dropped"]
        decisions = sum(tensor["decisions"] for tensor in dropped)
        count = sum(tensor["dropped"] for tensor in dropped)
        done = decisions and any(tensor["after"] for tensor in dropped)
        rows.append(
            [
                f"{printable(file['source'])} {arrow} {printable(file['output'])}",
                file["status"],
                size_text(file["bytes"]),
                f"{decisions:,}",
                f"{count:,}" if done else "",
                number_text(count / decisions) if done else "",
            ]
        )
    return _table(("file", "", ">size", ">decisions", ">dropped", ">rate"), rows)


def verdict_lines(verdicts: "list[Verdict]", verbose: bool) -> Iterator[str]:
    """A line for each output that differs, with -v for each; at last, how many do not."""
    for verdict in verdicts:
        if verdict.difference:
            yield f"{printable(verdict.output)}: different: {printable(verdict.difference.message)}"
        elif verbose:
            yield f"{printable(verdict.output)}: same"
    same = [verdict for verdict in verdicts if not verdict.difference]
    if same:
        size = size_text(sum(verdict.nbytes for verdict in same))
        yield f"verified: {counted(len(same), 'file')}, {size}, the same byte for byte"


def time_line(tally: "Tally", seconds: float) -> str:
    """How long it took, and which files took longest."""
    count = tally.written + len(tally.errors)
    slowest = ", ".join(f"{path} {time:.2g} s" for time, path in tally.slowest)
    more = f"; slowest: {slowest}" if len(tally.slowest) > 1 else ""
    rate = size_text(round(tally.nbytes / seconds))
    return f"{counted(count, 'file')} in {seconds:.3g} s, {rate}/s{more}"


def info_table(info: "FileInfo", verbose: bool) -> Iterator[str | Table]:
    """What a file holds."""
    shown = info.tensors if verbose else info.tensors[:_ROWS]
    elements = sum(tensor.elements for tensor in info.tensors)
    yield (
        f"{printable(info.source)}: {info.format}, {size_text(info.size)}, "
        f"{counted(len(info.tensors), 'tensor')}, {elements:,} elements"
    )
    for entry in info.provenance:
        yield provenance_line(entry)
    for key, value in info.metadata.items():
        if key != "dropcli":
            yield f"{printable(key)}: {printable(value)}"
    if shown:
        rows = [
            [
                printable(tensor.name),
                "?" if tensor.dtype.name == "?" else shape_text(tensor.shape),
                tensor.dtype.name,
                f"{tensor.elements:,}",
                size_text(tensor.nbytes),
            ]
            for tensor in shown
        ]
        yield ""
        yield _table(("tensor", "shape", "dtype", ">elements", ">size"), rows)
    if len(shown) < len(info.tensors):
        yield f"{len(info.tensors) - len(shown):,} more tensors; -v shows them all"


def _table(headings: Sequence[str], rows: list[list[str]]) -> Table:
    """A table without borders; a heading that begins with `>` has its column to the right.

    The first column holds names, which may take several lines; nothing else is ever broken.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        text = heading.removeprefix(">")
        cells = [text, *(line for row in rows for line in row[number].split("\n"))]
        width = max(map(len, cells))
        table.add_column(
            text,
            justify="left" if text == heading else "right",
            no_wrap=number > 0,
            overflow="fold",
            min_width=width if number else min(width, _NAME_WIDTH),
        )
    for row in rows:
        table.add_row(*row)
    return table
