"""Results as values: tensors, files, warnings and the JSON document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from dropcli.__version__ import __version__
from dropcli.errors import DropcliError
from dropcli.pipeline.notices import Notice, Notices

if TYPE_CHECKING:  # info has a report too, and does not load it
    from dropcli.masks import RateSummary
    from dropcli.pipeline.results import FileResult
    from dropcli.pipeline.stats import Sample, Summary

SCHEMA = 1

Status: TypeAlias = Literal["written", "planned", "skipped"]

_CLASSES_SHOWN = 3  # unless --verbose


@dataclass(slots=True)
class TensorReport:
    """One tensor: dropped, copied, or tied (in the same memory as a dropped tensor)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    action: Literal["dropped", "copied", "tied"] = "copied"
    decisions: int = 0
    dropped: int = 0
    elements_dropped: int = 0
    before: "Summary | None" = None
    after: "Summary | None" = None
    tied_to: str | None = None
    asked: "RateSummary | None" = None  # the requested p
    reason: str | None = None  # why a float tensor is copied
    counted: bool = False  # whether `dropped` is known
    sample: "Sample | None" = None  # for histograms

    @property
    def rate(self) -> float | None:
        """The realised rate: the fraction of decisions that dropped."""
        return self.dropped / self.decisions if self.decisions and self.counted else None

    @property
    def drawn(self) -> "RateSummary | None":
        """The requested p, if it does not follow from the settings alone."""
        return self.asked if self.asked and not self.asked.in_settings else None

    @property
    def deviation(self) -> float | None:
        """The realised rate minus the requested p, if p does not follow from the settings alone."""
        rate = self.rate
        return rate - self.drawn.mean if self.drawn and rate is not None else None

    @property
    def rate_sd(self) -> float | None:
        """The standard deviation of the rate; None if chance does not decide it."""
        return self.asked.sd(self.decisions) if self.asked and self.rate is not None else None

    @property
    def rate_sigma(self) -> float | None:
        """How many standard deviations the rate is from p."""
        if not self.asked or self.rate is None:
            return None
        return self.asked.sigma(self.decisions, self.dropped)

    @property
    def overflows(self) -> int:
        """The minimum number of values that scaling made infinite."""
        return max(0, self.after.inf - self.before.inf) if self.before and self.after else 0

    def document(self) -> dict[str, Any]:
        """The tensor's part of the JSON document."""
        document = {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "action": self.action,
            "decisions": self.decisions,
            "dropped": self.dropped,
            "rate": self.rate,
            "rate_sd": self.rate_sd,
            "rate_sigma": self.rate_sigma,
            "elements": self.elements,
            "elements_dropped": self.elements_dropped,
            "before": self.before.document() if self.before else None,
            "after": self.after.document() if self.after else None,
        }
        if self.tied_to:
            document["tied_to"] = self.tied_to
        if self.reason:
            document["reason"] = self.reason
        if self.drawn:
            document["p"] = self.drawn.mean
            if self.drawn.low is not None:
                document |= {"p_min": self.drawn.low, "p_max": self.drawn.high}
            document["deviation"] = self.deviation
        return document


@dataclass
class FileReport:
    """One file that was written or, with --dry-run, would be written."""

    source: str
    output: str
    stream: str
    copy: int
    size: int
    status: Status
    tensors: list[TensorReport]
    mask: bool = False  # whether it holds the keep mask
    applied_before: bool = False
    unselected: DropcliError | None = None  # why nothing is selected in it
    notes: list[str] = field(default_factory=list)
    unknown_classes: list[str] = field(default_factory=list)
    channels_last: dict[str, str] = field(default_factory=dict)  # tensor: the --over to try

    def document(self) -> dict[str, Any]:
        """The file's part of the JSON document."""
        tensors = [tensor.document() for tensor in self.tensors]
        if self.status != "written":  # nothing was counted
            unknown = {"dropped": None, "elements_dropped": None}
            tensors = [row | unknown if row["action"] == "dropped" else row for row in tensors]
        return {
            "source": self.source,
            "output": self.output,
            "stream": self.stream,
            "copy": self.copy,
            "bytes": self.size,
            "status": self.status,
            "tensors": tensors,
        }

    def notices(self, *, verbose: bool = False) -> Iterator[Notice]:
        """The warnings about this file."""
        yield from (Notice("file-note", note) for note in self.notes)
        if self.applied_before:
            yield Notice(
                "applied-before",
                "this seed and stream were applied to the file before, so the same elements drop "
                "again; use another --seed",
            )
        if self.unknown_classes:
            shown = self.unknown_classes if verbose else self.unknown_classes[:_CLASSES_SHOWN]
            more = ", ..." if len(shown) < len(self.unknown_classes) else ""
            yield Notice(
                "unknown-classes",
                f"holds objects of classes outside torch ({', '.join(shown)}{more}), which are "
                "copied unread; load the output only if you trust the input",
            )
        if self.unselected:
            what = "its mask is empty" if self.mask else "copied unchanged"
            yield Notice(self.unselected.code, f"{what}: {self.unselected.message}")
        for tensor in self.tensors:
            yield from self._tensor_notices(tensor)

    def _tensor_notices(self, tensor: TensorReport) -> Iterator[Notice]:
        if tensor.reason:
            from dropcli.dropout import shell_pattern

            yield Notice(
                "looks-like-label",
                f"tensor '{tensor.name}' is {'left out' if self.mask else 'copied'}, because it "
                "looks like a label or state "
                f"({tensor.reason}); -k {shell_pattern(tensor.name)} drops it, --all-floats drops "
                "every float tensor",
            )
        if over := self.channels_last.get(tensor.name):
            yield Notice(
                "looks-like-nhwc",
                f"tensor '{tensor.name}' looks like (N, H, W, C), but the mode is for "
                f"(N, C, H, W); did you mean {over}?",
            )
        if tensor.overflows:
            yield Notice(
                "overflow",
                f"tensor '{tensor.name}': at least {tensor.overflows:,} values became too large "
                f"for {tensor.dtype}, and are infinite",
            )
        if (p := tensor.asked) and tensor.after and p.excludes(tensor.decisions, tensor.dropped):
            yield Notice(
                "rate-far-from-p",
                f"tensor '{tensor.name}': the rate {tensor.rate:.4g} is "
                f"{abs(tensor.rate_sigma or 0):.1f} standard deviations from p {p.mean:.4g}, which "
                "happens by chance once in a million tensors",
            )


class Documented(Protocol):
    """A file of a report."""

    def document(self) -> dict[str, Any]:
        """Its part of the JSON document."""


@dataclass(repr=False)
class Report:
    """The result of a command: its JSON document as Python values.

    Attributes:
        command: "apply", "info" or "verify".
        status: "success"; "partial" if some files of several failed; "error".
        settings: those of `apply`, with the seed that was drawn if none was given.
        files: the files that did not fail, each with its tensors.
        warnings: dicts of "code", "message" and "files", the number of files.
        errors: dicts of "source", "code", "message" and "hint".
    """

    command: str
    settings: dict[str, Any] | None = None
    entries: list[Documented] = field(default_factory=list)  # the source of `files`
    errors: list[dict[str, str | None]] = field(default_factory=list)
    notices: Notices = field(default_factory=Notices)
    different: int = 0  # the number of files that `verify` found to differ
    failed: bool = False  # even if outputs were written

    @cached_property
    def files(self) -> "tuple[FileResult, ...]":
        from dropcli.pipeline.results import FileResult

        return tuple(FileResult.of(entry.document()) for entry in self.entries)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        return self.notices.document()

    @property
    def status(self) -> Literal["success", "partial", "error"]:
        if not self.errors and not self.different:
            return "success"
        return "partial" if len(self.entries) > self.different and not self.failed else "error"

    def document(self) -> dict[str, Any]:
        """The JSON document that `dropcli help report` describes."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "command": self.command,
            "status": self.status,
            "settings": self.settings,
            "files": [entry.document() for entry in self.entries],
            "warnings": self.warnings,
            "errors": self.errors,
        }

    def to_json(self) -> str:
        """The document as text."""
        return to_json(self.document(), indent=2)

    def __repr__(self) -> str:
        files, errors = len(self.entries), len(self.errors)
        return f"<report of {self.command}: {self.status}, files={files}, errors={errors}>"


def to_json(document: dict[str, Any], indent: int | None = None) -> str:
    """The document as ASCII, for terminals with any encoding. Raises ValueError for NaN."""
    return json.dumps(document, indent=indent, allow_nan=False) + "\n"


def asked(tensor: dict[str, Any], settings: dict[str, Any] | None) -> float | None:
    """The requested p of a tensor, from its document; the mean if there are several."""
    p = tensor.get("p", settings["p"] if settings else None)
    return None if isinstance(p, list) else p
