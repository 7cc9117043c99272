"""Previews on a terminal: pictures of half blocks, histograms of blocks, or ASCII characters."""

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dropcli.cli.terminal.layout import Column, Screen, flow, short, table
from dropcli.dropout import shape_text
from dropcli.files import place_of
from dropcli.report import caption, counted, extent, number_text, printable, settings_text, what
from dropcli.samples import columns, pixels

if TYPE_CHECKING:
    from dropcli.report import Preview
    from dropcli.samples import Look, Pixels, Spread

_WIDEST = 120  # columns that pictures fill
_COLUMNS = 80  # if the width is unknown
_IMAGE = 32  # columns of an image, at most
_LEAST = 14  # columns of an image, at least
_COMFORTABLE = 60  # columns; in fewer, two bins of a histogram are merged
_TALLEST = 24  # lines of an image
_ROWS = 10  # of the table of tensors, unless --verbose
_GAP, _BETWEEN = " ", "   "
_RAMP = " .:-=+*#%@"
_BARS = " ▁▂▃▄▅▆▇█"
_TENSORS = (
    Column("tensor"),
    Column("shape", spare=2),
    Column("dtype", spare=1),
    Column("what"),
    Column("decisions", right=True, spare=3),
)


def preview_lines(
    preview: "Preview", verbose: bool, colored: bool, screen: Screen
) -> Iterator[str]:
    """The lines of a preview: what `apply` would do to a file, and samples."""
    source = short(printable(place_of(preview.source)), screen)
    yield from flow(f"{source}: a preview, no tensors are written", screen)
    yield from flow(settings_text(preview.dropout.settings(), preview.stream), screen)
    yield ""
    order = sorted(preview.tensors, key=lambda tensor: tensor.action != "dropped")
    shown = order if verbose else order[:_ROWS]
    rows = [
        [
            *(printable(tensor.name), shape_text(tensor.shape), tensor.dtype),
            what(preview.dropout, tensor),
            f"{tensor.decisions:,}" if tensor.action == "dropped" else "",
        ]
        for tensor in shown
    ]
    yield from table(_TENSORS, rows, screen)
    if more := len(order) - len(shown):
        yield f"{counted(more, 'more tensor')}; -v shows all"
    width = min(screen.width, _WIDEST) if screen.width < 10_000 else _COLUMNS
    for look in preview.looks:
        yield ""
        yield from _look_lines(look, colored, screen._replace(width=width))


def _look_lines(look: "Look", colored: bool, screen: Screen) -> Iterator[str]:
    yield from flow(caption(look, plain=not colored), screen)
    if not look.before.size:
        yield "no elements"
        return
    yield from (
        _image_lines(look, colored, screen)
        if look.is_image
        else _table_lines(look, colored, screen)
    )


def _image_lines(look: "Look", colored: bool, screen: Screen) -> Iterator[str]:
    """Each image with its copies after dropout, as many in a row as fit."""
    views = [pixels(look), *(pixels(look, number) for number in range(len(look.after)))]
    fitting = max(1, (screen.width + 1) // (_LEAST + 1))
    left = len(views) - fitting
    views = views[: max(2, fitting)]
    wide = (screen.width + len(_GAP)) // len(views) - len(_GAP)
    two_groups = 2 * len(views) * (_LEAST + 1) + len(_BETWEEN)
    if two_groups <= screen.width and len(look.samples) > 1:
        wide = ((screen.width - len(_BETWEEN)) // 2 + 1) // len(views) - 1
    images, every = _fitted(views, max(1, min(wide, _IMAGE)))
    height, width = images[0].shape[1:3]
    group = len(images) * (width + 1) - 1
    per_row = max(1, (screen.width + len(_BETWEEN)) // (group + len(_BETWEEN)))
    shown = range(min(len(look.samples), per_row * (2 if height <= _TALLEST else 1)))
    yield from flow(_how(look, every, left), screen)
    for start in range(0, len(shown), per_row):
        numbers = shown[start : start + per_row]
        heads = (_heading(look, number, len(images), width) for number in numbers)
        yield _BETWEEN.join(f"{head:{group}}" for head in heads).rstrip()
        groups = [
            [_drawn(image[number], colored, screen) for image in images] for number in numbers
        ]
        for line in range(len(groups[0][0])):
            yield _BETWEEN.join(
                _GAP.join(image[line] for image in each) for each in groups
            ).rstrip()


def _heading(look: "Look", number: int, views: int, width: int) -> str:
    sample = look.samples[number]
    names = [name for name, _ in columns(look)][1:views]
    cells = [f"sample {sample:,}" if width >= 14 else f"{sample:,}", *names]
    return _GAP.join(f"{cell[:width]:{width}}" for cell in cells)


def _how(look: "Look", every: int, left: int) -> str:
    words = [
        "each sample before, then after" if len(look.after) == 1 else "each sample, its copies"
    ]
    if part := extent(look, every):
        words.append(part)
    if left > 0:
        first = "copy 1" if len(look.after) - left == 1 else f"copies 1 to {len(look.after) - left}"
        words.append(f"{first} of {len(look.after)}")
    return ", ".join(words)


def _fitted(views: "list[Pixels]", room: int) -> "tuple[list[Pixels], int]":
    """Images that fit so many columns: enlarged, or with pixels left out, but not averaged."""
    _, height, width, _ = views[0].shape
    every = max(-(-width // room), -(-height // (2 * _TALLEST)), 1)
    views = [view[:, ::every, ::every] for view in views]
    _, height, width, _ = views[0].shape
    factor = max(1, min(room // width, 2 * _TALLEST // max(height, 1), -(-_LEAST // width)))
    return [view.repeat(factor, axis=1).repeat(factor, axis=2) for view in views], every


def _table_lines(look: "Look", colored: bool, screen: Screen) -> Iterator[str]:
    """Heat maps of rows, before and after side by side, and histograms below each other."""
    room = max(1, (screen.width - len(_BETWEEN)) // 2)
    before, after = (image[0][:, :room] for image in (pixels(look), pixels(look, 0)))
    after_copy = "copy 1" if len(look.after) > 1 else "after"
    yield from flow(f"{extent(look, room=room)}, before and {after_copy}", screen)
    factor = max(1, min(room // before.shape[1], 4))
    tall = [image.repeat(2, axis=0).repeat(factor, axis=1) for image in (before, after)]
    for left, right in zip(*(_drawn(image, colored, screen) for image in tall), strict=True):
        yield f"{left}{_BETWEEN}{right}".rstrip()
    yield from _histograms(look, screen)


def _histograms(look: "Look", screen: Screen) -> Iterator[str]:
    low, high = look.value_range
    names = [
        "before",
        *("after" if len(look.after) == 1 else f"copy {n + 1}" for n in range(len(look.after))),
    ]
    most = max(1, *(count for spread in look.spreads for count in spread.counts))
    taken = "all" if look.sampled == prod(look.shape) else "evenly sampled"
    ends = f"values from {number_text(low)} to {number_text(high)}"
    elements = f"{counted(look.sampled, 'element')}, {taken}"
    yield from flow(f"{ends}, {elements}; zeros are counted separately", screen)
    wide = max(map(len, names))
    for name, spread in zip(names, look.spreads, strict=True):
        bars = _bars(spread, most, screen)
        yield from flow(_apart(spread), screen, f"{name:{wide}} |{bars}| ")


def _apart(spread: "Spread") -> str:
    counts = {"zeros": spread.zeros, "NaN": spread.nan, "infinite": spread.inf}
    return ", ".join(f"{name} {n:,}" for name, n in counts.items() if n or name == "zeros")


def _bars(spread: "Spread", most: int, screen: Screen) -> str:
    signs = _BARS if screen.utf8 else _RAMP
    top = len(signs) - 1
    each = 1 if screen.width >= _COMFORTABLE else 2
    counts = np.reshape(spread.counts, (-1, each)).sum(axis=1) // each
    return "".join(signs[-(-count * top // most)] for count in counts.tolist())


def _drawn(image: "Pixels", colored: bool, screen: Screen) -> list[str]:
    """The lines of one image, with two pixels in each character."""
    if len(image) % 2:
        image = np.concatenate([image, np.zeros_like(image[:1])])
    rows = zip(image[::2], image[1::2], strict=True)
    if not colored:
        return ["".join(map(_character, upper, lower)) for upper, lower in rows]
    return [_colored(upper, lower, screen.utf8) for upper, lower in rows]


def _colored(upper: "Pixels", lower: "Pixels", utf8: bool) -> str:
    """A line in 24-bit colour, with a colour code only where the colour changes."""
    text, now = [], ""
    for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
        mean = [(a + b) // 2 for a, b in zip(top, bottom, strict=True)]
        front = f"\x1b[38;2;{top[0]};{top[1]};{top[2]}m" if utf8 else ""
        back = bottom if utf8 else mean
        code = f"{front}\x1b[48;2;{back[0]};{back[1]};{back[2]}m"
        text.append(("" if code == now else code) + ("▀" if utf8 else " "))
        now = code
    return "".join([*text, "\x1b[0m"])


def _character(top: "Pixels", bottom: "Pixels") -> str:
    """An ASCII character, which is denser for lighter pixels; `?` for NaN."""
    pair = np.stack([top, bottom])
    if (pair == (255, 0, 255)).all(axis=1).any():
        return "?"
    shade = float((pair @ np.array([0.299, 0.587, 0.114])).mean())  # luma, ITU-R BT.601
    return _RAMP[round(shade / 255 * (len(_RAMP) - 1))]
