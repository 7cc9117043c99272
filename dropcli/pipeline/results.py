"""The files of a report as Python objects, with the names of the JSON document.

A value that a command does not report or know is None.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of a tensor. The first four ignore NaN and infinities.

    They are None if there is no finite value. `std` is the population standard deviation.
    """

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    zeros: int
    nan: int
    inf: int


@dataclass(frozen=True, slots=True, repr=False)
class TensorResult:
    """One tensor of a file.

    Attributes:
        action: "dropped", "copied" or "tied", the memory of the dropped tensor `tied_to`.
        reason: why it is copied, if it looks like a label or state.
        decisions, dropped: the number of all decisions, and of those that are "drop".
        rate: dropped / decisions.
        rate_sd, rate_sigma: the standard deviation of the rate, and how many of them the rate is
            from p.
        elements, elements_dropped: the numbers of elements.
        before, after: statistics of a dropped tensor.
        p, p_min, p_max: the mean and the range of the requested p, if the settings alone do not
            give it: for -p LOW:HIGH, --exact and --min-keep.
        deviation: the rate minus `p`.
        bytes: its size in the file; for `info`.
        statistics: its statistics and a histogram; for `info` with statistics.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    action: str | None = None
    reason: str | None = None
    tied_to: str | None = None
    decisions: int | None = None
    dropped: int | None = None
    rate: float | None = None
    rate_sd: float | None = None
    rate_sigma: float | None = None
    elements_dropped: int | None = None
    before: Statistics | None = None
    after: Statistics | None = None
    p: float | None = None
    p_min: float | None = None
    p_max: float | None = None
    deviation: float | None = None
    bytes: int | None = None
    statistics: dict[str, Any] | None = None

    def __repr__(self) -> str:
        what = [self.action] if self.action else []
        return f"<tensor {self.name!r}: {', '.join([*what, self.dtype, str(self.shape)])}>"

    @classmethod
    def of(cls, document: dict[str, Any]) -> "TensorResult":
        """From the tensor's part of the JSON document."""
        sides = {
            side: Statistics(**document[side])
            for side in ("before", "after")
            if document.get(side) is not None
        }
        return cls(**{**_known(cls, document), "shape": tuple(document["shape"]), **sides})


@dataclass(frozen=True, slots=True, repr=False)
class FileResult:
    """One file of a report.

    Attributes:
        source, output: paths as they were given or found.
        stream, copy: its name in the mask key and the number of the copy, 0 for the only one.
        bytes: the size of the output; for `info`, the size of the file.
        status: "written", "skipped" (it was done before) or "planned" (a dry run);
            for `verify`, "same" or "different".
        tensors: the result for each tensor; empty for `verify`, which compares bytes.
        difference: for `verify`, the first byte that differs: `byte`, `tensor` and `message`.
        format, metadata, provenance: for `info`, the content of the header.
    """

    source: str | None = None
    output: str | None = None
    stream: str | None = None
    copy: int | None = None
    bytes: int = 0
    status: str | None = None
    tensors: tuple[TensorResult, ...] = ()
    difference: dict[str, Any] | None = None
    format: str | None = None
    metadata: dict[str, str] | None = None
    provenance: list[Any] | None = None

    def __repr__(self) -> str:
        path = self.source if self.output is None else self.output
        return f"<file {path!r}: {self.status or self.format}, tensors={len(self.tensors)}>"

    @classmethod
    def of(cls, document: dict[str, Any]) -> "FileResult":
        """From the file's part of the JSON document."""
        tensors = tuple(map(TensorResult.of, document.get("tensors", ())))
        return cls(**{**_known(cls, document), "tensors": tensors})


def _known(cls: type[Any], document: dict[str, Any]) -> dict[str, Any]:
    """The entries of a document for which a class has attributes."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in document.items() if name in names}
