"""Masks: the frozen contract, and its consequences."""

import itertools
import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcli.dropout import Dropout, Over
from dropcli.masks import FileMasks, Mask
from dropcli.masks.decisions import threshold
from dropcli.masks.keystream import mask_key
from dropcli.tensors import DTYPES, TensorInfo
from tests import oracle

# seed, stream, tensor, copy, p, the key, and whether each of the first 32 decisions drops
VECTORS = [
    (
        *(7, "x", "images", 0, 0.3),
        "d0b3918d7d693249abab47e001397a29",
        "10110100000100000000110010010000",
    ),
    (
        *(0, "train/000", "tensor", 2, 0.5),
        "ab99ce0a1a925b64f9adeec7736c66e3",
        "10011001101000000011110000001101",
    ),
    (
        *(2**64 - 1, "é", "a.0.b", 0, 0.05),
        "d32e6b892f545b5d4cc15fcd0451df79",
        "00000000000000001000000000000000",
    ),
]


def mask_of(
    shape: tuple[int, ...],
    p: float,
    seed: int,
    stream: str = "s",
    tensor: str = "t",
    copy: int = 0,
    over: dict[int, int] | None = None,
) -> Mask:
    dropout = Dropout(p=p, seed=seed, over=Over(tuple(over.items())) if over else None)
    info = TensorInfo(tensor, DTYPES["F32"], shape, 0, 0)
    return FileMasks(dropout, stream, copy).mask_for(info)


@pytest.mark.parametrize(("seed", "stream", "tensor", "copy", "p", "key", "bits"), VECTORS)
def test_vectors(
    seed: int, stream: str, tensor: str, copy: int, p: float, key: str, bits: str
) -> None:
    made = mask_key(seed, stream.encode(), tensor, copy)
    keep = np.empty(32, np.bool_)
    mask_of((32,), p, seed, stream, tensor, copy).keep(0, keep)
    assert made.hex() == key
    assert "".join("01"[not kept] for kept in keep) == bits


def test_threshold_is_rounded_to_nearest() -> None:
    assert threshold(0) == 0
    assert threshold(1) == 2**32
    assert threshold(2**-33) == 1  # half a word rounds up
    assert threshold(2**-34) == 0
    assert threshold(0.3) == math.floor(0.3 * 2**32 + 0.5)


def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[int, int] | None]:
    shape = tuple(draw(st.lists(st.integers(1, 6), max_size=6)))
    if not shape or draw(st.booleans()):
        return shape, None
    dimensions = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return shape, {dimension: draw(st.integers(1, 7)) for dimension in sorted(dimensions)}


@settings(max_examples=300, deadline=None)
@given(st.composite(grids)(), st.data())
def test_any_range_equals_that_part_of_the_whole(
    case: tuple[tuple[int, ...], dict[int, int] | None], data: st.DataObject
) -> None:
    shape, over = case
    elements = math.prod(shape)
    start = data.draw(st.integers(0, elements - 1))
    stop = data.draw(st.integers(start + 1, elements))
    key = oracle.key(1, "s", "t")
    keep = np.empty(stop - start, np.bool_)
    mask_of(shape, 0.4, 1, over=over).keep(start, keep)
    expected = ~oracle.dropped(shape, 0.4, key, over).reshape(-1)[start:stop]
    assert np.array_equal(keep, expected)


@pytest.mark.parametrize(
    ("shape", "over"),
    [
        ((3, 700_001), {1: 1}),
        ((3, 700_001), {1: 3}),
        ((2, 5, 300, 310), {0: 1, 2: 8, 3: 8}),
        ((2, 5, 300, 310), {0: 1, 1: 1}),
        ((2, 90_000, 5), {0: 1, 2: 1}),
        ((400_000, 3), {0: 7}),
    ],
)
def test_large_grids(shape: tuple[int, ...], over: dict[int, int]) -> None:
    key = oracle.key(2, "s", "t")
    mask = mask_of(shape, 0.3, 2, over=over)
    expected = ~oracle.dropped(shape, 0.3, key, over).reshape(-1)
    keep = np.empty(100_003, np.bool_)  # no multiple of anything
    for start in range(0, len(expected), len(keep)):
        part = keep[: len(expected) - start]
        mask.keep(start, part)
        assert np.array_equal(part, expected[start : start + len(part)])


def test_counts_beyond_32_bits_are_addressed() -> None:
    """Element 2**34 + 1 of a tensor too large for any memory."""
    key = oracle.key(3, "s", "t")
    start = 2**34 + 1
    keep = np.empty(8, np.bool_)
    mask_of((2**35,), 0.5, 3).keep(start, keep)

    counter = (start // 4).to_bytes(16, "big")
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    words = np.frombuffer(cipher.update(bytes(48)), "<u4")[1:9]
    assert np.array_equal(keep, words >= 2**31)


def test_smaller_p_drops_a_subset() -> None:
    kept = []
    for p in (0.1, 0.2, 0.5, 0.9):
        keep = np.empty(10_000, np.bool_)
        mask_of((10_000,), p, 4).keep(0, keep)
        kept.append(keep)
    for more, fewer in itertools.pairwise(kept):
        assert not (fewer & ~more).any()
        assert fewer.sum() < more.sum()


def test_independent_names_have_independent_masks() -> None:
    keeps = []
    for stream, tensor, copy in (("a", "t", 0), ("b", "t", 0), ("a", "u", 0), ("a", "t", 1)):
        keep = np.empty(100_000, np.bool_)
        mask_of((100_000,), 0.5, 5, stream, tensor, copy).keep(0, keep)
        keeps.append(keep)
    for i, left in enumerate(keeps):
        for right in keeps[i + 1 :]:
            # Agreement of fair coins: 6 standard deviations around one half.
            assert abs((left == right).mean() - 0.5) < 6 * 0.5 / math.sqrt(100_000)
