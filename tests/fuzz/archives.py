"""Mutations of `.pt` archives: of members, contents, and numbers in their directories."""

import io
import struct
import warnings
import zipfile
from random import Random

from tests.fuzz import numbers, pickles

Members = list[tuple[str, bytes]]

# Positions of numbers in a member's header, in its directory entry, and in the end record.
_FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": (
        *((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2)),
        *((34, 2), (36, 2), (38, 4), (42, 4)),
    ),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((4, 8), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((4, 4), (8, 8), (16, 4)),
    b"PK\7\10": ((4, 4), (8, 4), (12, 4)),
}


def mutate(random: Random, data: bytes) -> bytes:
    """An archive with one mutation."""
    kind = random.randrange(10)
    if kind < 3:
        return _field(random, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    if kind < 7:
        members = [
            (name, pickles.mutate(random, content) if name.endswith("/data.pkl") else content)
            for name, content in members
        ]
        return _archive(random, members, odd=False)
    for _ in range(random.choice((1, 1, 2))):
        random.choice((_content, _rename, _remove, _more, _shuffle))(random, members)
    data = _archive(random, members, odd=random.random() < 0.3)
    return _field(random, data) if random.random() < 0.2 else data


def _field(random: Random, data: bytes) -> bytes:
    """Replace a number in the structure."""
    places = [
        (at + offset, size)
        for signature, fields in _FIELDS.items()
        for at in _all(data, signature)
        for offset, size in fields
        if at + offset + size <= len(data)
    ]
    at, size = random.choice(places)
    value = numbers.integer(random, int.from_bytes(data[at : at + size], "little"))
    return data[:at] + (value % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def _all(data: bytes, signature: bytes) -> list[int]:
    parts = data.split(signature)
    places, at = [], 0
    for part in parts[:-1]:
        at += len(part)
        places.append(at)
        at += len(signature)
    return places


def _archive(random: Random, members: Members, *, odd: bool) -> bytes:
    buffer = io.BytesIO()
    if odd and random.random() < 0.3:
        buffer.write(random.randbytes(random.choice((1, 4, 64))))
    with zipfile.ZipFile(buffer, "a" if buffer.tell() else "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if odd and random.random() < 0.1:
                info.compress_type = zipfile.ZIP_DEFLATED
            if odd and random.random() < 0.1:
                info.extra = struct.pack("<2H", random.choice((1, 0x4246)), 4) + bytes(4)
            if odd and random.random() < 0.1:
                info.comment = b"comment"
            if odd and random.random() < 0.1:
                info.external_attr = random.choice((0x10, 0xA1ED0000))
            with warnings.catch_warnings(action="ignore"):  # about duplicate names
                archive.writestr(info, content)
        if odd and random.random() < 0.2:
            archive.comment = random.choice((b"c", b"PK\5\6" + bytes(18), bytes(100)))
    return buffer.getvalue()


def _content(random: Random, members: Members) -> None:
    """Replace bytes of a member."""
    at = random.randrange(len(members))
    name, content = members[at]
    texts = (
        b"",
        b"3\n",
        b"64",
        b"0",
        b"-1",
        b"7",
        b"[]",
        b"[1]",
        b"{",
        b"big",
        b"[" * 3000,
        b"\xff",
    )
    cut = content[: random.randrange(len(content) + 1)]
    members[at] = name, random.choice((cut, content + b"\0", *texts))


def _rename(random: Random, members: Members) -> None:
    at = random.randrange(len(members))
    name, content = members[at]
    root, _, below = name.partition("/")
    text = numbers.text(random).replace("\0", "")
    names = (f"{root}/{text}", text, f"{text}/{below}", f"{root}//{below}", f"/{name}", f"./{name}")
    more = (
        name.upper(),
        members[random.randrange(len(members))][0],
        f"{name}/",
        f"{root}/../{below}",
    )
    members[at] = random.choice((*names, *more)) or "x", content


def _remove(random: Random, members: Members) -> None:
    if len(members) > 1:
        del members[random.randrange(len(members))]


def _more(random: Random, members: Members) -> None:
    root = members[0][0].partition("/")[0]
    names = (
        "dropcli.json",
        "constants.pkl",
        "data/9",
        "code/x.py",
        ".storage_alignment",
        "data.pkl",
    )
    content = random.choice((b"", b"[]", b"64", b"1", b"\x80\x02N.", random.randbytes(16)))
    at = random.randrange(len(members) + 1)
    members.insert(at, (f"{root}/{random.choice(names)}", content))


def _shuffle(random: Random, members: Members) -> None:
    random.shuffle(members)
