"""Compute outputs again from their provenance and their sources, and compare bytes."""

from dropcli.dataset.verify.file import Verdict as Verdict
from dropcli.dataset.verify.outputs import verify_outputs as verify_outputs
