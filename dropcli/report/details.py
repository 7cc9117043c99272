"""What pages show beside the JSON document."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dropcli.pipeline import Sample
from dropcli.report.totals import NameTotals


@dataclass(frozen=True)
class Picture:
    """A picture as PNG, with words for those who do not see it."""

    png: bytes
    text: str


@dataclass(frozen=True)
class Details:
    """Samples by tensor name, totals by tensor name, pictures.

    `names` is None of a single file, whose report has its tensors.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    names: list[tuple[str, NameTotals]] | None = None
    pictures: Sequence[Picture] = ()
