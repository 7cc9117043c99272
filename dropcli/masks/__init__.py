"""Masks: which elements drop, as a pure function of the seed and of names."""

from dropcli.masks.file_masks import FileMasks
from dropcli.masks.keystream import CONTRACT
from dropcli.masks.mask import Mask
from dropcli.masks.probability import SampleProbabilities
from dropcli.masks.rate import RateSummary, combined
from dropcli.masks.torch_rng import drawn_stream

__all__ = [
    "CONTRACT",
    "FileMasks",
    "Mask",
    "RateSummary",
    "SampleProbabilities",
    "combined",
    "drawn_stream",
]
