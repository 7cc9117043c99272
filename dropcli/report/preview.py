"""What `dropcli.preview` returns: tables and pictures that a notebook displays."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath

from dropcli.dropout import Dropout, shape_text, why_copied
from dropcli.errors import DropcliError, UsageError
from dropcli.files import is_piped, place_of, publish
from dropcli.pipeline import Notice, TensorReport
from dropcli.report.details import Picture
from dropcli.report.text import counted, number_text, printable, settings_text
from dropcli.samples import Look, labelled_sheet, look, png, sheet

_ROWS = 200
_SHEETS = 4  # at most, on a page
_SHEETS_BYTES = 350_000  # at most, as PNG, all together
_PAGE = (  # no script, and nothing to load
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>dropcli preview</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
    "<style>body{{font-family:sans-serif}}td,th{{padding:0 1em 0 0;text-align:left}}"
    "img{{max-width:100%}}</style><body>{}</body></html>\n"
)


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
        dropped = sum(tensor.action == "dropped" for tensor in self.tensors)
        copied = len(self.tensors) - dropped
        return (
            f"<preview of {self.source!r}: {counted(dropped, 'tensor')} to drop, {copied} to copy>"
        )

    def _repr_html_(self) -> str:
        """HTML for a notebook: tables and pictures. Names are escaped and nothing is loaded."""
        return "".join(self._html())

    def _html(self) -> Iterator[str]:
        title = printable(place_of(self.source))
        yield f"<div><p><b>{escape(title)}</b>: "
        settings = settings_text(self.dropout.settings(), self.stream)
        yield f"{escape(settings)}; nothing is written</p>"
        yield "<table><thead><tr><th>tensor</th><th>shape</th><th>dtype</th><th>what</th></tr>"
        yield "</thead><tbody>"
        for tensor in self.tensors[:_ROWS]:
            cells = (
                printable(tensor.name),
                shape_text(tensor.shape),
                tensor.dtype,
                what(self.dropout, tensor),
            )
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        yield "</tbody></table>"
        if (more := len(self.tensors) - _ROWS) > 0:
            yield f"<p>and {counted(more, 'more tensor')}</p>"
        for notice in self.notices:
            yield f"<p>warning: {escape(printable(notice.message, 2000))}</p>"
        for each in self.looks:
            if each.before.size:
                data = base64.b64encode(png(sheet(each))).decode()
                text = escape(caption(each))
                yield f'<figure><figcaption>{text}</figcaption><img alt="{text}" '
                yield f'src="data:image/png;base64,{data}"></figure>'
        yield "</div>"

    def save(self, path: str, *, replace: bool = False) -> None:
        """Write a .png contact sheet or a .html page; DropcliError if it cannot be written."""
        check_picture_path(path)
        is_page = PurePath(path).suffix.lower() == ".html"
        data = _PAGE.format("".join(self._html())).encode() if is_page else self._sheet()
        with publish(path, size=len(data), replace=replace) as output:
            output.write(data)

    def _sheet(self) -> bytes:
        looks = [(caption(each), each) for each in self.looks if each.before.size]
        if not looks:
            place = place_of(self.source)
            raise DropcliError("nothing-to-show", "no elements would drop", None, place)
        return labelled_sheet(looks)


def pictures_of(path: str, dropout: Dropout, stream: str, copy: int) -> list[Picture]:
    """Contact sheets of the tensors of a file that look like images; none for a pipe."""
    if is_piped(path):
        return []
    try:
        looks = look(path, dropout, stream, (copy,), _SHEETS)
    except DropcliError:  # the run itself reports the error
        return []
    found: list[Picture] = []
    for each in looks:
        if each.is_image and each.before.size:
            picture = Picture(png(sheet(each)), f"{caption(each)}, and the mask")
            if sum(len(one.png) for one in [*found, picture]) <= _SHEETS_BYTES:
                found.append(picture)
    return found


def check_picture_path(path: str) -> None:
    """Raise UsageError if the suffix is not that of a picture."""
    if PurePath(path).suffix.lower() not in (".png", ".html"):
        raise UsageError(
            "bad-picture",
            f"-o: the suffix of '{path}' is neither .png nor .html",
            "`dropcli preview` writes pictures; `dropcli apply` writes tensors",
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
