"""What pages show that is not in the JSON document."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dropcli.pipeline import Sample
from dropcli.report.totals import NameTotals


@dataclass(frozen=True)
class Picture:
    """Samples of one tensor: each row has a name, and a PNG picture for each column."""

    text: str
    columns: list[str]
    rows: list[tuple[str, list[bytes]]]


@dataclass(frozen=True)
class Details:
    """What a page shows that is not in the JSON document.

    `names` are the totals by tensor name. It is None for a single file, whose report lists its
    tensors. `pictures` show samples of the output `pictured`.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    names: list[tuple[str, NameTotals]] | None = None
    pictures: Sequence[Picture] = ()
    pictured: str = ""
    pictures_note: str = ""
