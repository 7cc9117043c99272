"""Values as colours. A value has the same colour before and after dropout."""

import numpy as np
from numpy.typing import NDArray

from dropcli.samples.look import Look, level, real

Pixels = NDArray[np.uint8]

_NAN = (255, 0, 255)
# Five anchors of matplotlib's "viridis", which is even also to most colour-blind people.
_HEAT = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])


def pixels(look: Look, number: int | None = None) -> Pixels:
    """Return the samples before, or those of copy `number` (from 0) after dropout.

    The shape is (samples, height, width, 3). NaN is magenta; infinities have the colours of the
    ends of the range.
    """
    values = real(look.before if number is None else look.after[number])
    levels = level(values, *look.range)
    missing = np.isnan(levels).any(axis=-1)
    levels = np.nan_to_num(levels)
    if not look.is_image:
        places = np.linspace(0, 1, len(_HEAT))
        found = np.stack([np.interp(levels[..., 0], places, each) for each in _HEAT.T], axis=-1)
    else:
        channels = levels.shape[-1]
        shade = levels[..., :3] * (levels[..., 3:] if channels == 4 else 1)
        found = np.broadcast_to(shade * 255, (*levels.shape[:-1], 3)).copy()
    found[missing] = _NAN
    return np.round(found).astype(np.uint8)


def mask_pixels(look: Look, number: int) -> Pixels:
    """The mask of copy `number` (from 0): white where all channels are kept, black where none is.

    Where only some channels are kept, the colour shows which.
    """
    kept = look.keep[number]
    kept = kept[..., :3] if kept.shape[-1] >= 3 else kept[..., :1]
    shown: Pixels = np.broadcast_to(kept, (*kept.shape[:-1], 3)).astype(np.uint8) * 255
    return shown
