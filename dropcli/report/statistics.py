"""Numbers over several files: pooled statistics, and the distribution of rates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dropcli.pipeline import Summary, asked
from dropcli.report.totals import NameTotals

BINS = 31

Document = dict[str, Any]


def pooled(files: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """For each tensor name, the statistics over all files, before and after."""
    found: dict[str, tuple[Summary, Summary]] = {}
    alone: dict[str, tuple[Document, Document]] = {}
    for file in files:
        for tensor in file["tensors"]:
            if tensor["before"] and tensor["after"]:
                name = tensor["name"]
                alone[name] = tensor["before"], tensor["after"]
                sides = found.setdefault(name, (Summary(), Summary()))
                for side, document in zip(sides, alone[name], strict=True):
                    side.merge(_summary(document, tensor["elements"]))
    for name, (before, after) in found.items():
        if len(files) == 1:
            yield name, *alone[name]
        else:
            yield name, before.document(), after.document()


def _summary(document: Document, elements: int) -> Summary:
    counts = document["zeros"], document["nan"], document["inf"]
    count = elements - document["nan"] - document["inf"]
    if document["min"] is None:
        return Summary(*counts)
    nothing = math.nan  # the moment overflowed, so the pooled one is unknown
    mean = nothing if document["mean"] is None else document["mean"]
    std = nothing if document["std"] is None else document["std"]
    squares = std * std * count
    return Summary(*counts, count, mean, 0.0, squares, document["min"], document["max"])


def totals_of(file: Document, settings: Document) -> NameTotals:
    """What was dropped in one output."""
    total = NameTotals()
    for tensor in file["tensors"]:
        if tensor["action"] == "dropped" and file["status"] != "skipped" and tensor["after"]:
            decisions, sd = tensor["decisions"], tensor.get("rate_sd")
            expected = round(decisions * (asked(tensor, settings) or 0) * 2**32)
            variance = 0 if sd is None else round((sd * decisions) ** 2 * 2**32)
            known = sd is not None or not decisions
            dropped = tensor["dropped"]
            total.add(NameTotals(1, 0, set(), decisions, dropped, expected, variance, known))
    return total


@dataclass(frozen=True)
class Spread:
    """How many numbers are in each of `BINS` bins from `low` to `high`."""

    low: float
    high: float
    counts: list[int]

    @classmethod
    def of(cls, numbers: list[float], low: float, high: float) -> "Spread":
        counts, width = [0] * BINS, (high - low) / BINS
        for number in numbers:
            place = int((number - low) / width) if width else BINS // 2
            counts[min(max(place, 0), BINS - 1)] += 1
        return cls(low, high, counts)


@dataclass(frozen=True)
class FileRates:
    """The rates of outputs, and how many standard deviations each is from its p."""

    files: int
    total: NameTotals
    rates: Spread | None
    sigmas: Spread | None

    @classmethod
    def of(cls, files: list[Document], settings: Document) -> "FileRates":
        total, rates, sigmas = NameTotals(), list[float](), list[float]()
        for file in files:
            one = totals_of(file, settings)
            total.add(one)
            rates += [] if one.rate is None else [one.rate]
            sigmas += [] if one.sigma is None else [one.sigma]
        return cls(
            len(rates),
            total,
            Spread.of(rates, min(rates), max(rates)) if rates else None,
            Spread.of(sigmas, -4.0, 4.0) if sigmas else None,
        )
