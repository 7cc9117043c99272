"""Draw digits.svg: the first ten digits unchanged, and after three kinds of dropout.

python examples/picture.py [OUTPUT]
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

import dropcli

DIGITS = Path(__file__).with_name("digits.safetensors")
COUNT, SIZE = 10, 8
PIXEL, GAP, LABEL = 7, 2, 210  # sizes in the picture; the gap is in pixels of a digit
P = 0.3
BLACK = 1 / (1 - P)  # the largest value after dropout: kept values are scaled
ROWS = {
    "as they are": None,
    f"-p {P}": "0,1,2,3",
    f"-p {P} --mode patch:2": "0,2:2,3:2",
    f"-p {P} --mode sample": "0",
}


def row(images: NDArray[np.float32], top: int) -> str:
    """Return the SVG of a row of digits: for each shade, one path of the pixels that have it."""
    pixels: dict[int, list[str]] = {}
    for (number, y, x), value in np.ndenumerate(images):
        if value:
            place = f"M{number * (SIZE + GAP) + x} {top + y}h1v1h-1z"
            pixels.setdefault(round(255 * (1 - value / BLACK)), []).append(place)
    frame = "".join(
        f'<rect x="{number * (SIZE + GAP)}" y="{top}" width="{SIZE}" height="{SIZE}" '
        'fill="none" stroke="#ccc" stroke-width="0.3"/>\n'
        for number in range(COUNT)
    )
    return frame + "".join(
        f'<path fill="#{shade:02x}{shade:02x}{shade:02x}" d="{"".join(places)}"/>\n'
        for shade, places in sorted(pixels.items())
    )


def main() -> None:
    """Drop each row as `dropcli apply` does, and draw it."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else DIGITS.with_suffix(".svg")
    images = load_file(DIGITS)["images"]
    drawn, text = "", ""
    for number, (label, over) in enumerate(ROWS.items()):
        dropped: NDArray[Any] = images
        if over:
            dropped = dropcli.drop(images, p=P, seed=7, stream="digits", tensor="images", over=over)
        top = number * (SIZE + GAP)
        drawn += row(dropped[:COUNT, 0], top)
        text += f'<text x="12" y="{(top + GAP + 5) * PIXEL}">{label}</text>\n'
    width = LABEL + (COUNT * (SIZE + GAP) + GAP) * PIXEL
    height = (len(ROWS) * (SIZE + GAP) + GAP) * PIXEL
    output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>\n'
        f'<g font-family="monospace" font-size="14" fill="#333">\n{text}</g>\n'
        f'<g transform="translate({LABEL} {GAP * PIXEL}) scale({PIXEL})" '
        f'shape-rendering="crispEdges">\n{drawn}</g>\n</svg>\n'
    )


if __name__ == "__main__":
    main()
