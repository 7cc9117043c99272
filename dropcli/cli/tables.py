"""The tables of the report and of `dropcli info`, as lines and rich tables.

Names of files and tensors are data: control characters are shown escaped, brackets are never
markup.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dropcli.cli.text import printable
from dropcli.pipeline.report import asked
from dropcli.tensors import shape_text

if TYPE_CHECKING:
    from dropcli.dataset.plan import Request
    from dropcli.dataset.tally import Tally
    from dropcli.dataset.verify import Verdict
    from dropcli.formats import FileInfo
    from dropcli.pipeline.report import FileReport, TensorReport

_ROWS = 10  # of a table, unless more are asked for
_NAME_WIDTH = 12
BETWEEN = 2  # spaces that rich puts between columns


def file_table(
    file: "FileReport", settings: dict[str, Any], verbose: bool, arrow: str
) -> Iterator[str | Table]:
    """What was done to a file; `settings` are those of the report."""
    # What was dropped comes first, lest the first few are all copied.
    tensors = sorted(file.tensors, key=lambda tensor: tensor.action != "dropped")
    shown = tensors if verbose else tensors[:_ROWS]
    source = "standard input" if file.source == "-" else printable(file.source)
    output = "standard output" if file.output == "-" else printable(file.output)
    yield f"{source} {arrow} {output}  {_bytes(file.size)}"
    yield _settings_line(file, settings)
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
        yield f"rates differ from p by {_number(max(off))} at most"
    yield _totals_line(file)


def _settings_line(file: "FileReport", settings: dict[str, Any]) -> str:
    return _in_words(settings, file.stream)


def _in_words(settings: dict[str, Any], stream: str | None) -> str:
    """The settings of one application, on one line; None for files of many streams."""
    if settings["eval"]:
        return "evaluation mode, nothing dropped"
    words = [
        _p_in_words(settings),
        f"seed {settings['seed']}",
        *([] if stream is None else [f"stream {stream}"]),
        f"over {settings['over']}" if settings["over"] else "every element decides",
    ]
    if not settings["rescale"]:
        words.append("not rescaled")
    if settings["fill"] is not None:
        words.append(f"filled with {settings['fill']}")
    words += _rare_in_words(settings)
    for option in ("key", "exclude"):
        words += [f"{option} {pattern}" for pattern in settings[option]]
    return printable(", ".join(words))


def _p_in_words(settings: dict[str, Any]) -> str:
    if not isinstance(settings["p"], list):
        return f"p {settings['p']:g}"
    low, high = settings["p"]
    return f"p {low:g} to {high:g} for each {settings['p_per']}"


def _rare_in_words(settings: dict[str, Any]) -> list[str]:
    """The settings that are only there where they are used."""
    words = [option for option in ("alpha", "exact") if settings.get(option)]
    if "min_keep" in settings:
        words.append(f"at least {settings['min_keep']:d} of a group kept")
    if "rng" in settings:
        words.append(f"masks of {settings['rng']} {settings['torch']}")
    return words


def _masks_table(tensors: list["TensorReport"], settings: dict[str, Any]) -> Table:
    rows = []
    for tensor in tensors:
        row = [printable(tensor.name), shape_text(tensor.shape), tensor.dtype]
        if tensor.action != "dropped":
            row += ["", tensor.action, "", ""]
        else:
            done = tensor.after is not None
            p = _asked_text(tensor, settings)
            dropped = [f"{tensor.dropped:,}", p, _number(tensor.rate)] if done else ["", p, ""]
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
            values = [[_number(side[key]) for side in (before, after)] for key in before]
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
            f"dry run: nothing written; {_tensors(len(dropped))} to drop "
            f"({decisions:,} decisions), {copied}"
        )
    rate = f", rate {count / decisions:.4f}" if decisions else ""
    return f"{_tensors(len(dropped))} dropped ({count:,} of {decisions:,}{rate}), {copied}"


def dataset_table(
    tally: "Tally", request: "Request", settings: dict[str, Any], verbose: bool, arrow: str
) -> Iterator[str | Table]:
    """What was done to the files of a dataset."""
    yield _in_words(settings, None)
    yield ""
    if verbose and (files := tally.files):
        yield _files_table([file.document() for file in files], arrow)
        yield ""
    rows = dict(_dataset_rows(tally, request, settings))
    width = max(map(len, rows))
    yield from (f"{name:{width}}  {value}" for name, value in rows.items())


def _dataset_rows(
    tally: "Tally", request: "Request", settings: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    verb = "to write" if request.dry_run else "replaced" if request.output is None else "written"
    size = f", {_bytes(tally.nbytes)}" if tally.written else ""
    yield verb, f"{_files(tally.written)}{size}"
    if request.copies:
        original = ", and the original" if request.keep_original else ""
        where = ", in one file" if request.concat else ""
        yield "copies", f"{request.copies:,} of each file{original}{where}"
    if tally.skipped:
        yield "done before", _files(tally.skipped)
    if tally.errors:
        yield "failed", _files(len(tally.errors))
    if tally.missed:
        yield "not tried", _files(tally.missed)
    if tally.left:
        yield "left", f"{_files(tally.left)} of other kinds"
    if request.dry_run:
        yield "dry run", f"nothing written; {tally.decisions:,} decisions to make"
    elif tally.rate is not None and not settings["eval"]:
        yield "dropped", f"{tally.dropped:,} of {tally.decisions:,} decisions"
        yield "rate", f"asked {tally.asked:.6g}, realised {tally.rate:.6f}"


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
                _bytes(file["bytes"]),
                f"{decisions:,}",
                f"{count:,}" if done else "",
                _number(count / decisions) if done else "",
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
        size = _bytes(sum(verdict.nbytes for verdict in same))
        yield f"verified: {_files(len(same))}, {size}, the same byte for byte"


def time_line(tally: "Tally", seconds: float) -> str:
    """How long it took, and which files took longest."""
    count = tally.written + len(tally.errors)
    slowest = ", ".join(f"{path} {time:.2g} s" for time, path in tally.slowest)
    more = f"; slowest: {slowest}" if len(tally.slowest) > 1 else ""
    return f"{_files(count)} in {seconds:.3g} s, {_bytes(round(tally.nbytes / seconds))}/s{more}"


def info_table(info: "FileInfo", verbose: bool) -> Iterator[str | Table]:
    """What a file holds."""
    shown = info.tensors if verbose else info.tensors[:_ROWS]
    elements = sum(tensor.elements for tensor in info.tensors)
    yield (
        f"{printable(info.source)}: {info.format}, {_bytes(info.size)}, "
        f"{_tensors(len(info.tensors))}, {elements:,} elements"
    )
    for entry in info.provenance:
        yield _provenance_line(entry)
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
                _bytes(tensor.nbytes),
            ]
            for tensor in shown
        ]
        yield ""
        yield _table(("tensor", "shape", "dtype", ">elements", ">size"), rows)
    if len(shown) < len(info.tensors):
        yield f"{len(info.tensors) - len(shown):,} more tensors; -v shows them all"


def _provenance_line(entry: Any) -> str:
    """One application in words; a record that is not of this contract is shown as it is."""
    try:
        words = _in_words(entry["settings"], entry["stream"])
        copies = f"copy {entry['copy']:d}" if entry["copy"] else ""
        if concat := entry.get("concat"):
            original = "the original and " if concat["original"] else ""
            copies = f"{original}{concat['copies']:d} copies in one file"
        return f"{printable(entry['contract'])}: {words}{copies and ', '}{copies}"
    except (KeyError, TypeError, ValueError):
        return f"provenance: {printable(str(entry))}"


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


def _number(value: float | int | None) -> str:
    """A count in full; else four digits, or three and an exponent."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.4g}"
    if text.endswith(("e+04", "e+05")):
        return f"{value:,.0f}"
    return f"{value:.3g}" if "e" in text else text


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _tensors(count: int) -> str:
    return f"{count:,} tensor{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    """Decimal units, as disks and `ls --si` count."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1000
    return f"{size:.4g} TB"
