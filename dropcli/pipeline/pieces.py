"""Cut the segments of a file into pieces, each processed by one thread.

Long extents are cut at whole blocks of statistics, counted from the start of the tensor, so that
a summary does not depend on the data around it. Short neighbours share a piece.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dropcli.formats import GAP, Checksum, Deferred, Extent, Gathered, Made, Segment
from dropcli.pipeline.recipe import Recipe
from dropcli.tensors import TensorInfo

PIECE_BYTES = 1 << 21
_PIECE_ITEMS = 1024
_MADE = 1 << 19  # elements of a mask

Recipes = Mapping[str, Recipe]


@dataclass
class Part:
    """A run of bytes of the source, to be copied or dropped.

    The elements of `recipe` are contiguous and begin at `first_element`. The elements of `placed`
    recipes are where the layouts of their tensors say.
    """

    offset: int
    nbytes: int
    recipe: Recipe | None = None
    first_element: int = 0
    placed: tuple[Recipe, ...] = ()
    read: Checksum | None = None
    written: Checksum | None = None


@dataclass
class Gather:
    """Elements in row-major order from `first_element`, to be collected or generated."""

    segment: Gathered | Made
    first_element: int
    count: int
    recipe: Recipe | None


@dataclass
class Piece:
    """Items in the order of the output; the parts among them are read together."""

    offset: int = 0
    nbytes: int = 0
    items: list[bytes | Deferred | Part | Gather] = field(default_factory=list)

    def fits(self, part: Part) -> bool:
        """Whether the part can be read together with the parts in this piece."""
        gap = part.offset - (self.offset + self.nbytes)
        return 0 <= gap <= GAP and self.nbytes + gap + part.nbytes <= PIECE_BYTES

    def add(self, part: Part) -> None:
        """Add a part, and read up to its end."""
        if not self.nbytes:
            self.offset = part.offset
        self.nbytes = part.offset + part.nbytes - self.offset
        self.items.append(part)


def cut(segments: Iterable[Segment], recipes: Recipes) -> Iterator[Piece]:
    """The pieces of these segments, in order."""
    piece = Piece()
    for segment in segments:
        if isinstance(segment, Gathered | Made):
            if piece.items:
                yield piece
            for gather in _gathers(segment, recipes):
                yield Piece(items=[gather])
            piece = Piece()
            continue
        if not isinstance(segment, Extent):
            piece.items.append(segment)
            continue
        for part in _parts(segment, recipes):
            if piece.nbytes and (not piece.fits(part) or len(piece.items) >= _PIECE_ITEMS):
                yield piece
                piece = Piece()
            piece.add(part)
    if piece.items:
        yield piece


def _gathers(segment: Gathered | Made, recipes: Recipes) -> Iterator[Gather]:
    tensor = segment.tensor
    recipe = recipes.get(tensor.tied_to or tensor.name)
    step = _MADE if isinstance(segment, Made) else PIECE_BYTES * 8 // tensor.dtype.bits
    for first in range(0, tensor.elements, step):
        yield Gather(segment, first, min(step, tensor.elements - first), recipe)


def _fills(tensor: TensorInfo, extent: Extent) -> bool:
    """Whether the extent is exactly the elements of this tensor, in order."""
    return not tensor.layout and (tensor.offset, tensor.nbytes) == (extent.offset, extent.nbytes)


def _parts(extent: Extent, recipes: Recipes) -> Iterator[Part]:
    found = [recipes[tensor.name] for tensor in extent.tensors if tensor.name in recipes]
    checks = (extent.read, extent.written)
    if len(found) == 1 and _fills(found[0].tensor, extent):
        itemsize = found[0].tensor.dtype.bits // 8
        step = PIECE_BYTES  # whole blocks of statistics, whatever the dtype
        for start in range(0, extent.nbytes, step):
            nbytes = min(step, extent.nbytes - start)
            offset = extent.offset + start
            yield Part(offset, nbytes, found[0], start // itemsize, (), *checks)
        return

    # A multiple of every item size, so that no element is cut.
    step = PIECE_BYTES // 2 if found else PIECE_BYTES
    for start in range(0, extent.nbytes, step):
        nbytes = min(step, extent.nbytes - start)
        yield Part(extent.offset + start, nbytes, None, 0, tuple(found), *checks)
