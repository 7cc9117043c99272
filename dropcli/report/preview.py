"""What `dropcli.preview` returns: tables and pictures that a notebook displays."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePath

from dropcli.__version__ import __version__
from dropcli.dropout import Dropout, shape_text, why_copied
from dropcli.errors import DropcliError, UsageError
from dropcli.files import is_piped, place_of, publish
from dropcli.pipeline import Notice, Notices, Sample, TensorReport
from dropcli.report.details import Picture
from dropcli.report.histogram import NO_ZEROS, Histogram
from dropcli.report.text import counted, number_text, printable
from dropcli.report.view import Cell, Column, Name, View, cut, settings_of, warnings_table
from dropcli.samples import Look, columns, labelled_sheet, look, png

_LOOKS = 4  # at most, in a report
_PICTURES_BYTES = 300_000  # at most, on a page, as PNG
_TENSORS = [
    *(Column("tensor"), Column("shape"), Column("dtype"), Column("what")),
    Column("decisions", right=True),
]


@dataclass(frozen=True, repr=False)
class Preview:
    """What `apply` would do to a file. Nothing is written.

    Attributes:
        source, stream: the path, and its name in mask keys.
        dropout: the settings, with the seed that was drawn if none was given.
        tensors: all tensors of the file, each with its `name` and `action`.
        looks: samples of dropped tensors, `before` and `after` as arrays.
        notices: warnings, each with a `code` and a `message`.
    """

    source: str
    stream: str
    dropout: Dropout
    tensors: Sequence[TensorReport]
    looks: Sequence[Look]
    notices: Sequence[Notice]

    def __repr__(self) -> str:
        return f"<preview of {self.source!r}: {self._counts('to drop', 'to copy')}>"

    def _repr_html_(self) -> str:
        """HTML for a notebook: tables and pictures. Names are escaped and nothing is loaded."""
        from dropcli.report import page  # jinja2 takes 30 ms to import

        return page.fragment(self._view())

    def _counts(self, drop: str, copy: str) -> str:
        dropped = sum(tensor.action == "dropped" for tensor in self.tensors)
        return f"{counted(dropped, 'tensor')} {drop}, {len(self.tensors) - dropped:,} {copy}"

    def _view(self) -> View:
        """What a page shows about the preview."""
        place = printable(place_of(self.source))
        counts = self._counts("would drop", "would be copied")
        notices = Notices()
        for notice in self.notices:
            notices.add(notice)
        tables = [
            warnings_table(notices.document()),
            cut("Tensors", _TENSORS, [self._row(tensor) for tensor in self.tensors], "tensor"),
        ]
        samples = [(each.name, [[side] for side in each.values[:2]]) for each in self.looks]
        found = [Histogram.of(printable(name), Sample(*sides)) for name, sides in samples]
        several = "; after is copy 1" if self.looks and len(self.looks[0].after) > 1 else ""
        return View(
            "preview",
            f"Preview of {os.path.basename(place)}",
            f"A preview by dropcli {__version__} of {place}: {counts}. No tensors are written.",
            "",
            settings_of(self.dropout.settings(), printable(self.stream)),
            [table for table in tables if table.rows],
            [histogram for histogram in found if histogram],
            f"From at most 65,536 elements of each tensor, evenly spaced{several}. {NO_ZEROS}",
            None,
            *_pictures(self.looks),
        )

    def _row(self, tensor: TensorReport) -> list[Cell]:
        return [
            *(Name.of(tensor.name), shape_text(tensor.shape), tensor.dtype),
            Name.of(what(self.dropout, tensor)),
            f"{tensor.decisions:,}" if tensor.action == "dropped" else "",
        ]

    def save(self, path: str, *, replace: bool = False) -> None:
        """Write a .png contact sheet or a .html page; DropcliError if it cannot be written."""
        check_picture_path(path)
        if PurePath(path).suffix.lower() == ".html":
            from dropcli.report import page  # with templates, 30 ms

            data = page.html(self._view()).encode("utf-8", "surrogateescape")
        else:
            data = self._sheet()
        with publish(path, size=len(data), replace=replace) as output:
            output.write(data)

    def _sheet(self) -> bytes:
        looks = [(caption(each), each) for each in self.looks if each.before.size]
        if not looks:
            place = place_of(self.source)
            raise DropcliError("nothing-to-show", "no elements would drop", None, place)
        return labelled_sheet(looks)


def pictures_of(
    path: str, dropout: Dropout, stream: str, copy: int
) -> tuple[Sequence[Picture], str]:
    """Samples of the tensors of a file that look like images, and a note; none for a pipe."""
    if is_piped(path):
        return [], ""
    try:
        return _pictures(look(path, dropout, stream, (copy,), _LOOKS, only_images=True))
    except DropcliError:  # the run itself reports the error
        return [], ""


def _pictures(looks: Sequence[Look]) -> tuple[list[Picture], str]:
    """Pictures of as many samples as fit on a page, and a note if tensors are left out."""
    shown = [each for each in looks if each.before.size]
    found: list[Picture] = []
    left = _PICTURES_BYTES
    for number, each in enumerate(shown):
        picture, size = _picture(each, left // (len(shown) - number), left)
        left -= size
        found += [picture] if picture.rows else []
    if len(found) == len(shown):
        return found, ""
    names = f"{len(found):,} of {counted(len(shown), 'tensor')}"
    return found, f"Only the samples of {names} are shown; the others are too large for a page."


def _picture(look: Look, share: int, most: int) -> tuple[Picture, int]:
    """Samples of a tensor and their size: at most `share` bytes, or `most` for a single one."""
    headings, images = zip(*columns(look), strict=True)
    rows: list[tuple[str, list[bytes]]] = []
    size = 0
    for number, row in enumerate(zip(*images, strict=True)):
        files = [png(image) for image in row]
        size += sum(map(len, files))
        if size > (share if rows else most):
            size -= sum(map(len, files))
            break
        rows.append((f"{look.samples[number]:,}" if look.is_image else "rows", files))
    words = f"{caption(look)}; {extent(look)}".rstrip("; ")
    return Picture(words, [*headings], rows), size


def check_picture_path(path: str) -> None:
    """Raise DropcliError if the suffix is not that of a picture, or its library is missing."""
    suffix = PurePath(path).suffix.lower()
    if suffix == ".png" and not find_spec("PIL"):
        raise DropcliError(
            "not-installed",
            "-o: a .png file needs pillow, which is not installed",
            "pip install 'dropcli[plots]', or write a page: -o sheet.html",
        )
    if suffix not in (".png", ".html"):
        raise UsageError(
            "bad-picture",
            f"-o: the suffix of '{path}' is neither .png nor .html",
            "`dropcli preview` writes pictures; `dropcli apply` writes tensors"
            if suffix in (".pt", ".pth", ".safetensors")
            else f"did you mean {shlex.quote(os.path.splitext(path)[0] + '.png')}?",
        )


def what(dropout: Dropout, tensor: TensorReport) -> str:
    """What would be done to a tensor, and why."""
    if tensor.action == "tied":
        return f"drop with '{printable(tensor.tied_to or '')}', whose memory it shares"
    if tensor.action == "dropped":
        named, every = bool(dropout.key), dropout.all_floats
        return f"drop: {'named by -k' if named else 'a float' if every else 'float data'}"
    why = tensor.reason or why_copied(dropout, tensor.name, tensor.dtype)
    return f"copy: {printable(why)}"


def caption(look: Look, *, plain: bool = False) -> str:
    """The caption of a tensor's picture; `plain` means that it is drawn with characters."""
    low, high = look.range
    kind = f"{printable(look.name)} ({look.dtype} {shape_text(look.shape)})"
    colors = "black to white" if look.is_image else "violet to yellow"
    colors = "blank to @" if plain else colors
    return f"{kind}: {colors} is {number_text(low)} to {number_text(high)}, before and after"


def extent(look: Look, every: int = 1, room: int | None = None) -> str:
    """Which part of a sample is shown, in words; empty if it is a whole image.

    `every` is the distance of the shown pixels, in those of the look. `room` is the number of
    columns of a table that can be shown.
    """
    height, width = look.size
    if look.is_image:
        rows, across = (step * every for step in look.step)
        shown = f"1 of {rows} rows and 1 of {across} columns of {height:,} by {width:,} pixels"
        return shown if max(rows, across) > 1 else ""
    count, columns = look.before.shape[1:3]
    words = f"{counted(count, 'row')} of {height:,}"
    columns = min(columns, room or columns)
    return f"{words}, the first {columns:,} of {width:,} columns" if columns < width else words
