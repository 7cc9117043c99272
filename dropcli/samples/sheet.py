"""Contact sheets: a row for each sample, with the original, the copies and the masks."""

import struct
import zlib
from collections.abc import Iterator
from math import ceil

import numpy as np

from dropcli.errors import needing
from dropcli.samples.colors import Pixels, mask_pixels, pixels
from dropcli.samples.look import Look

_CELL = 96  # pixels: the smallest side of an image on the sheet
_GAP = 6
_PAPER, _INK = 255, (51, 51, 51)
_LINE = 16  # height of a line of text, in pixels
_LEFT = 64  # width of the sample numbers, in pixels


def png(image: Pixels) -> bytes:
    """Return an image, shape (height, width, 3), as a PNG file (ISO/IEC 15948) with 8-bit RGB."""
    height, width, _ = image.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a row begins with its filter type: none
    rows[:, 1:] = image.reshape(height, -1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )


def columns(look: Look) -> Iterator[tuple[str, Pixels]]:
    """The headings and columns of a sheet: the original, the copies, their masks.

    A column has a picture for each sample, shape (samples, height, width, 3), or one of a table.
    """
    several = len(look.after) > 1
    yield "original", _enlarged(pixels(look), look)
    for number in range(len(look.after)):
        name = f"copy {number + 1}" if several else "after"
        yield name, _enlarged(pixels(look, number), look)
    for number in range(len(look.after)):
        name = f"mask {number + 1}" if several else "mask"
        yield name, _enlarged(mask_pixels(look, number), look)


def _sheet(look: Look) -> Pixels:
    """Return the sheet without text, shape (height, width, 3)."""
    shown = [images for _, images in columns(look)]
    samples, height, width, _ = shown[0].shape
    whole = np.full(
        (samples * (height + _GAP) - _GAP, len(shown) * (width + _GAP) - _GAP, 3), _PAPER, np.uint8
    )
    for column, images in enumerate(shown):
        for row, image in enumerate(images):
            top, left = row * (height + _GAP), column * (width + _GAP)
            whole[top : top + height, left : left + width] = image
    return whole


def _enlarged(images: Pixels, look: Look) -> Pixels:
    """Enlarge each pixel to a square; in tables to a tile, which is narrow for many columns."""
    _, height, width, _ = images.shape
    factor = max(1, ceil(_CELL / max(1, height, width)))
    tall = factor if look.is_image else max(factor, _LINE)
    wide = factor if look.is_image else max(1, min(factor, _LINE))
    return images.repeat(tall, axis=1).repeat(wide, axis=2)


def labelled_sheet(looks: list[tuple[str, Look]]) -> bytes:
    """Return the sheets of several tensors with their titles, as one PNG file.

    Raises:
        DropcliError: pillow is not installed.
    """
    with needing("pillow", "plots"):
        from PIL import Image, ImageDraw

    parts = [(title, look, _sheet(look)) for title, look in looks]
    width = max(_LEFT + max(part.shape[1], 480) + 2 * _GAP for _, _, part in parts)
    height = sum(part.shape[0] + 2 * _LINE + 3 * _GAP for _, _, part in parts) + _GAP
    whole = Image.new("RGB", (width, height), (_PAPER,) * 3)
    draw = ImageDraw.Draw(whole)
    top = _GAP
    for title, look, part in parts:
        draw.text((_GAP, top), title, _INK)
        names = [name for name, _ in columns(look)]
        wide = (part.shape[1] + _GAP) // len(names)
        tall = (part.shape[0] + _GAP) // max(1, len(look.before))
        for number, name in enumerate(names):
            draw.text((_LEFT + number * wide, top + _LINE), name, _INK)
        top += 2 * _LINE + _GAP
        for number, sample in enumerate(look.samples if look.is_image else ()):
            draw.text((_GAP, top + number * tall), f"{sample:,}", _INK)
        whole.paste(Image.fromarray(part), (_LEFT, top))
        top += part.shape[0] + 2 * _GAP
    return png(np.asarray(whole))
