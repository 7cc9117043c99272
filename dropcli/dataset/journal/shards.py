"""Shards: the files of a dataset, divided among independent runs.

A file's name determines its shard, so files do not move when others are added or removed. Each
shard has its own journal, because some shared disks do not support several writers of one file.
"""

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from dropcli.errors import UsageError
from dropcli.files import names_beside

_JOURNAL = "dropcli"
_JOURNAL_IN_PLACE = "dropcli-in-place"  # separate from the journal of an output folder
_NUMBER = "[1-9][0-9]{0,8}"
_JOURNALS = re.compile(
    rf"(?P<root>{_JOURNAL}|{_JOURNAL_IN_PLACE})(\.(?P<number>{_NUMBER})-of-(?P<count>{_NUMBER}))?"
    r"\.jsonl"
)


class Shard(NamedTuple):
    """One of `total` parts of the files; `number` counts from 1."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse text such as `3/8`. Raises UsageError if it is not a shard."""
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        if not found:
            hint = "the first of 8 shards is 1/8, the last is 8/8"
            if not re.search(r"\w", text):
                hint = "is a shell variable unset?"
            elif parts := re.fullmatch("([0-9]{1,9})(?: ?(?:of|[-:,]) ?)([0-9]{1,9})", text):
                hint = f"did you mean {parts[1]}/{parts[2]}?"
            raise UsageError("bad-shard", f"--shard: '{text}' is not I/N, as in 3/8", hint)
        number, count = map(int, found.groups())
        if not 1 <= number <= count:
            message = f"--shard: there is no shard {number} of {count}"
            hint = (
                f"shards are numbered from 1 to {count}" if count else "1/1 is the smallest number"
            )
            if count and not number:
                hint += "; add 1 to a number that starts at 0"
            raise UsageError("bad-shard", message, hint)
        return cls(number, count)

    def holds(self, name: str) -> bool:
        """Whether a file with this name belongs to the shard. Only the name matters."""
        return int.from_bytes(sha256(os.fsencode(name)).digest()) % self.total == self.number - 1


def journal_name(shard: Shard | None, *, in_place: bool) -> str:
    """The name of a journal in its folder."""
    root = _JOURNAL_IN_PLACE if in_place else _JOURNAL
    return f"{root}.{shard.number}-of-{shard.total}.jsonl" if shard else f"{root}.jsonl"


def is_journal(name: str) -> bool:
    """Whether this is the name of the journal of a run or a shard."""
    return _JOURNALS.fullmatch(name) is not None


def journals_beside(path: str) -> Iterator[tuple[str, Shard | None]]:
    """The other journals of this kind in a journal's folder, in order, each with its shard."""
    folder, own = os.path.split(path)
    kind = _JOURNALS.fullmatch(own)
    for name in names_beside(path):
        found = _JOURNALS.fullmatch(name)
        if found and kind and found["root"] == kind["root"] and name != own:
            number = found["number"]
            shard = Shard(int(number), int(found["count"])) if number else None
            yield os.path.join(folder, name), shard
