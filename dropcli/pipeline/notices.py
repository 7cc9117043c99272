"""Warnings: facts that the user should know but that are not failures."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dropcli.dropout import Dropout


class Notice(NamedTuple):
    """A warning about one file or about the settings."""

    code: str
    message: str  # without the file, so that several files can share it


def settings_notices(dropout: "Dropout") -> Iterator[Notice]:
    """Warnings about the settings."""
    from dropcli.dropout import torch_version

    if dropout.depends_on_torch:
        yield Notice(
            "torch-masks",
            f"--rng torch: the masks are those of torch {torch_version()}; other versions of torch "
            "may make others",
        )


class Notices:
    """Warnings without duplicates, with the number of files that each concerns."""

    def __init__(self) -> None:
        # Number of the first file, number of files, first place.
        self._found: dict[Notice, tuple[int, int, str]] = {}

    def add(self, notice: Notice, place: str = "", number: int = 0) -> None:
        """Add a warning about the file at `place`; `number` is the position of the file."""
        first, files, where = self._found.get(notice, (number, 0, place))
        if number < first:
            first, where = number, place
        self._found[notice] = first, files + 1, where

    def _in_order(self) -> list[tuple[Notice, int, str]]:
        found = sorted(self._found.items(), key=lambda item: (item[1][0], item[0]))
        return [(notice, files, place) for notice, (_, files, place) in found]

    def document(self) -> list[dict[str, Any]]:
        """The warnings' part of the JSON document."""
        return [{**notice._asdict(), "files": files} for notice, files, _ in self._in_order()]

    def placed(self) -> list[tuple[str, Notice]]:
        """Each warning with the file, or the number of files, that it concerns."""
        return [
            (f"{files:,} files" if files > 1 else place, notice)
            for notice, files, place in self._in_order()
        ]
