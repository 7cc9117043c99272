"""The tables of the report, as lines that fit a screen.

Names of files and tensors are data: control characters are shown escaped. Tensors are in the order
of the file, as in the JSON document.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dropcli.cli.terminal.layout import Column, Screen, flow, short, success, table
from dropcli.dropout import shape_text
from dropcli.errors import STDOUT_NAME
from dropcli.files import STDOUT, place_of
from dropcli.pipeline import asked
from dropcli.report import (
    counted,
    number_text,
    printable,
    settings_text,
    sigma_text,
    size_text,
)

if TYPE_CHECKING:
    from dropcli.dataset import Request, Tally, Verdict
    from dropcli.pipeline import FileReport, TensorReport
    from dropcli.report import NameTotals

_ROWS = 10  # unless --verbose
_NAME_ROWS = 20  # unless --verbose
_FOLDERS_SHOWN = 5

_SHAPE = (Column("shape", spare=2), Column("dtype", spare=1))
_MASKS = (
    *(Column("tensor"), *_SHAPE),
    *(Column(heading, right=True) for heading in ("decisions", "dropped", "p", "rate")),
    Column("off by", right=True, spare=3),
)
_STATISTICS = (
    *(Column("tensor"), Column("")),
    *(Column(heading, right=True) for heading in ("mean", "std", "min", "max")),
    *(Column(heading, right=True, counts=True) for heading in ("zeros", "NaN", "inf")),
)
_NAMES = (
    Column("tensor"),
    Column("dropped in", right=True),
    Column("copied in", right=True),
    Column("why copied", spare=2),
    Column("decisions", right=True, spare=4),
    Column("dropped", right=True, spare=3),
    Column("p", right=True, spare=1),
    Column("rate", right=True),
    Column("off by", right=True, spare=5),
)
_FILES = (
    Column("output"),
    Column("source", spare=4),
    Column("status", spare=3),
    Column("size", right=True, spare=2),
    Column("decisions", right=True, spare=1),
    Column("dropped", right=True),
    Column("rate", right=True),
)


def file_table(
    file: "FileReport", settings: dict[str, Any], verbose: bool, screen: Screen
) -> Iterator[str]:
    """The table of a file; `settings` are those of the report."""
    source, output = short(printable(place_of(file.source)), screen), short(_output(file), screen)
    yield from flow(f"{source} {screen.arrow} {output}", screen)
    yield from flow(settings_text(settings, file.stream), screen)
    shown = _first(file.tensors, len(file.tensors) if verbose else _ROWS)
    if shown:
        yield ""
        rows = [_mask_row(tensor, settings, file.mask) for tensor in shown]
        yield from table(_MASKS, rows, screen)
    if rows := [row for tensor in shown for row in _statistics_rows(tensor)]:
        yield from ["", *table(_STATISTICS, rows, screen)]
    yield ""
    if more := len(file.tensors) - len(shown):
        yield from flow(f"{counted(more, 'more tensor')}; -v or --stats shows all", screen)
    if off := [abs(tensor.deviation) for tensor in file.tensors if tensor.deviation is not None]:
        yield f"largest deviation from p: {number_text(max(off))}"
    yield from flow(_totals(file), screen)


def _output(file: "FileReport") -> str:
    return STDOUT_NAME if file.output == STDOUT else printable(file.output)


def _first(tensors: "list[TensorReport]", limit: int) -> "list[TensorReport]":
    """At most `limit` tensors in file order; those that drop are preferred."""
    numbers = sorted(range(len(tensors)), key=lambda n: tensors[n].action != "dropped")
    return [tensors[number] for number in sorted(numbers[:limit])]


def _mask_row(tensor: "TensorReport", settings: dict[str, Any], mask: bool) -> list[str]:
    row = [printable(tensor.name), shape_text(tensor.shape), tensor.dtype]
    if tensor.action != "dropped":
        left_out = mask and tensor.action == "copied"
        return [*row, "", "left out" if left_out else tensor.action, "", "", ""]
    p = asked(tensor.document(), settings)
    p_text = "" if p is None else f"{p:.4g}" if tensor.drawn else f"{p:g}"
    dropped = f"{tensor.dropped:,}" if tensor.counted else ""
    rate, off = number_text(tensor.rate), sigma_text(tensor.rate_sigma)
    return [*row, f"{tensor.decisions:,}", dropped, p_text, rate, off]


def _statistics_rows(tensor: "TensorReport") -> Iterator[list[str]]:
    if tensor.before and tensor.after:
        before, after = tensor.before.document(), tensor.after.document()
        cells = (f"{number_text(before[key])}\n{number_text(after[key])}" for key in before)
        yield [printable(tensor.name), "before\nafter", *cells]


def _totals(file: "FileReport") -> str:
    dropped = [tensor for tensor in file.tensors if tensor.action == "dropped"]
    decisions = sum(tensor.decisions for tensor in dropped)
    count = sum(tensor.dropped for tensor in dropped)
    copied = f"{len(file.tensors) - len(dropped):,} {'left out' if file.mask else 'copied'}"
    if file.status == "planned":
        return (
            f"dry run: nothing written; {counted(len(dropped), 'tensor')} to drop "
            f"({decisions:,} decisions), {copied}"
        )
    rate = f" ({count:,} of {decisions:,}, rate {count / decisions:.4f})" if decisions else ""
    done = counted(len(dropped), "mask" if file.mask else "tensor")
    return f"{done}{'' if file.mask else ' dropped'}{rate}, {copied}"


def file_success(file: "FileReport", screen: Screen) -> Iterator[str]:
    """The last line of a run over one file."""
    if file.status != "planned":
        written, size = short(_output(file), screen), size_text(file.size)
        to_stdout = file.output == STDOUT
        text = f"wrote {size} to {written}" if to_stdout else f"wrote {written} ({size})"
        yield from success(text, screen)


def dataset_table(
    tally: "Tally", request: "Request", settings: dict[str, Any], verbose: bool, screen: Screen
) -> Iterator[str]:
    """The table of a dataset."""
    yield from flow(settings_text(settings, None), screen)
    yield ""
    if verbose and (files := tally.files):
        yield from table(_FILES, [_file_row(file.document()) for file in files], screen)
        yield ""
    if tally.names.rows() and not settings["eval"]:
        yield from _names_table(tally, verbose, request.dry_run, screen)
        yield ""
    rows = dict(_dataset_rows(tally, request, settings, screen))
    width = max(map(len, rows))
    for key, value in rows.items():
        yield from flow(value, screen, f"{key:{width}}  ")


def _dataset_rows(
    tally: "Tally", request: "Request", settings: dict[str, Any], screen: Screen
) -> Iterator[tuple[str, str]]:
    verb = "would write" if request.dry_run else "replaced" if request.output is None else "written"
    size = f", {size_text(tally.nbytes)}" if tally.written else ""
    place = "" if request.output is None else f" to {_folder(request.output, screen)}"
    yield verb, f"{counted(tally.written, 'file')}{place}{size}"
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
        yield "skipped", f"{counted(tally.skipped, 'file')}, done before"
    if tally.errors:
        yield "failed", counted(len(tally.errors), "file")
    if tally.missed:
        yield "not attempted", counted(tally.missed, "file")
    if tally.unselected and not settings["eval"]:
        yield "nothing selected", f"in {counted(tally.unselected, 'file')}, copied"
    if tally.left:
        yield "ignored", f"{counted(tally.left, 'file')} of other kinds"
    total = tally.names.total
    if request.dry_run:
        yield "dry run", f"nothing written; {total.decisions:,} decisions to make"
    elif total.rate is not None and not settings["eval"]:
        yield "dropped", f"{total.dropped:,} of {total.decisions:,} decisions"
        off = f", off by {sigma_text(total.sigma)}" if total.sigma is not None else ""
        yield "rate", f"{total.rate:.6f} (p {total.asked:.6g}{off})"


def _folder(path: str, screen: Screen) -> str:
    return short(printable(os.path.join(path, "")), screen)


def _names_table(tally: "Tally", verbose: bool, dry_run: bool, screen: Screen) -> Iterator[str]:
    """The table of tensor names, with totals over all files."""
    names = [(printable(name), totals) for name, totals in tally.names.rows()]
    shown = names if verbose else names[:_NAME_ROWS]
    if verbose and tally.names.rest != type(tally.names.rest)():
        shown.append(("(all other names)", tally.names.rest))
    rows = [[name, *_name_cells(totals, dry_run)] for name, totals in shown]
    yield from table(_NAMES, rows, screen)
    if len(names) > len(shown):
        yield f"{counted(len(names) - len(shown), 'more name')}; -v shows all"


def _name_cells(totals: "NameTotals", dry_run: bool) -> list[str]:
    files = [f"{count:,}" if count else "" for count in (totals.dropped_in, totals.copied_in)]
    cells = [*files, printable(", ".join(sorted(totals.reasons)))]
    if not totals.decisions:
        return [*cells, "", "", "", "", ""]
    dropped, rate, off = f"{totals.dropped:,}", number_text(totals.rate), sigma_text(totals.sigma)
    if dry_run:
        dropped = rate = off = ""
    return [*cells, f"{totals.decisions:,}", dropped, number_text(totals.asked), rate, off]


def _file_row(file: dict[str, Any]) -> list[str]:
    dropped = [tensor for tensor in file["tensors"] if tensor["action"] == "dropped"]
    decisions = sum(tensor["decisions"] for tensor in dropped)
    count = sum(tensor["dropped"] or 0 for tensor in dropped)
    done = decisions and any(tensor["rate"] is not None for tensor in dropped)
    return [
        *(printable(file["output"]), printable(file["source"]), file["status"]),
        *(size_text(file["bytes"]), f"{decisions:,}"),
        *((f"{count:,}", number_text(count / decisions)) if done else ("", "")),
    ]


def dataset_end(
    tally: "Tally", request: "Request", seconds: float, failed: bool, verbose: bool, screen: Screen
) -> Iterator[str]:
    """The last line of a run over many files, with the time it took."""
    if verbose and len(tally.slowest) > 1:
        files = ", ".join(f"{printable(path)} {time:.2g} s" for time, path in tally.slowest)
        yield from flow(f"slowest: {files}", screen)
    place = "in place" if request.output is None else f"to {_folder(request.output, screen)}"
    total = counted(tally.planned - tally.skipped, "file")
    if tally.written:
        some = f"{tally.written:,} of {total}" if failed else total
        size, rate = size_text(tally.nbytes), size_text(round(tally.nbytes / seconds))
        text = f"wrote {some} {place}: {size} in {seconds:.3g} s, {rate}/s"
    else:
        text = f"wrote none of {total} {place}" if failed else "nothing left to do"
    yield from flow(text, screen) if failed else success(text, screen)


def verdict_lines(
    verdicts: "list[Verdict]", failed: int, verbose: bool, screen: Screen
) -> Iterator[str]:
    """A line for each output that differs, or with -v for all; then the number of the others."""
    for verdict in verdicts:
        if verdict.difference or verbose:
            found = verdict.difference
            text = f"different: {printable(found.message)}" if found else "same"
            yield from flow(f"{short(printable(verdict.output), screen)}: {text}", screen)
    same = [verdict for verdict in verdicts if not verdict.difference]
    size = size_text(sum(verdict.nbytes for verdict in same))
    if same and len(same) == len(verdicts) + failed:
        text = f"verified {counted(len(same), 'file')}: {size}, the same byte for byte"
        yield from success(text, screen)
    elif len(verdicts) + failed > 1:
        total = counted(len(verdicts) + failed, "file")
        yield from flow(f"{len(same):,} of {total} are the same byte for byte", screen)
