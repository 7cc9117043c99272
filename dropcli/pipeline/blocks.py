"""Drop a run of a tensor's elements, with the kernel in C if possible, otherwise with numpy."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import Kernel
from dropcli.native import Decisions, Moments, drop_natively
from dropcli.pipeline.recipe import Recipe
from dropcli.pipeline.stats import BLOCK, Sample, Summary, is_finite, summarize


@dataclass
class Dropped:
    """The counts and statistics of a run of elements of the tensor `name`."""

    name: str
    elements: int = 0  # the number of dropped elements
    before: list[Summary] = field(default_factory=list)
    after: list[Summary] = field(default_factory=list)
    sample: Sample = field(default_factory=Sample)


def drop_run(recipe: Recipe, first_element: int, raw: NDArray[np.uint8]) -> Dropped:
    """Drop contiguous elements in place; the first one must begin a block of statistics."""
    dropped = Dropped(recipe.tensor.name)
    itemsize = recipe.tensor.dtype.bits // 8
    step = BLOCK * itemsize
    factor = recipe.native_factor
    for start in range(0, len(raw), step):
        block, first = raw[start : start + step], first_element + start // itemsize
        count = len(block) // itemsize
        sampled = _sampled(recipe, first, block)
        if sampled is not None:
            dropped.sample.before.append(recipe.values(sampled))
        words = None if factor is None else recipe.mask.words(first, count)
        decisions = words or recipe.mask.kept(first, count)
        if factor is None or not _drop_block(recipe, first, block, factor, decisions, dropped):
            keep = decisions[0] > decisions[1] if isinstance(decisions, tuple) else decisions
            drop_elements(recipe, recipe.kernel(first, count), block, keep, dropped)
        if sampled is not None:
            dropped.sample.after.append(recipe.values(sampled))
    return dropped


def _sampled(recipe: Recipe, first: int, raw: NDArray[np.uint8]) -> NDArray[np.void] | None:
    """A view of the sampled elements in a run that begins at `first`; None if there are none."""
    if not recipe.sample:
        return None
    elements = raw.view(f"V{recipe.tensor.dtype.bits // 8}")
    sampled = elements[recipe.sampled(slice(first, None))]
    return sampled if len(sampled) else None


def drop_elements(
    recipe: Recipe,
    kernel: Kernel,
    raw: NDArray[np.uint8],
    keep: NDArray[np.bool_],
    dropped: Dropped,
) -> None:
    """Drop elements in place with numpy; `keep` is their mask, shape (n,)."""
    with np.errstate(all="ignore"):  # overflow and NaN are counted
        values = kernel.values(raw)
        if recipe.statistics:
            before = summarize(values)
            finite = not any(summary.nan or summary.inf for summary in before)
            dropped.before += before
        else:
            finite = is_finite(values)
        kernel.apply(raw, values, keep, finite)
        if recipe.statistics:
            dropped.after += summarize(kernel.values(raw))
    dropped.elements += len(keep) - int(np.count_nonzero(keep))


def _drop_block(
    recipe: Recipe,
    first: int,
    raw: NDArray[np.uint8],
    factor: float,
    decisions: Decisions,
    dropped: Dropped,
) -> bool:
    """Try the kernel in C; return False, with the block unchanged, if it cannot drop this block."""
    done = drop_natively(
        raw, recipe.tensor.dtype.name, factor, decisions, statistics=recipe.statistics
    )
    if done is None:
        return False
    count = len(raw) // (recipe.tensor.dtype.bits // 8)
    dropped.elements += count - done.kept
    if done.before:
        dropped.before.append(_summary(done.before, count))
        if done.after:
            dropped.after.append(_summary(done.after, count))
        else:
            dropped.after += summarize(recipe.kernel(first, count).values(raw))
    return True


def _summary(moments: Moments, count: int) -> Summary:
    m = moments
    return Summary(m.zeros, 0, 0, count, m.mean, 0.0, m.squares, m.low, m.high)


def drop_scattered(
    recipe: Recipe, logical: NDArray[np.int64], raw: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Drop the elements at these row-major indices in place; return their mask, shape (n,)."""
    keep = recipe.mask.keep_at(logical)
    drop_elements(recipe, recipe.kernel_at(logical), raw, keep, Dropped(recipe.tensor.name))
    return keep
