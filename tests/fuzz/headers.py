"""Mutations of the JSON headers of safetensors files.

Objects are lists of pairs here, so that a name can occur twice.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz import numbers

_DTYPES = [
    *("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "C64", "F8_E5M2"),
    *("F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "f32", "F128", "", "U64"),
]


class Pairs(list[tuple[str, Any]]):
    """A JSON object."""


class Raw(str):
    """Text that is written into the document unchanged."""


def mutate(random: Random, data: bytes) -> bytes:
    """A file with a mutated header, and perhaps with data that fit it."""
    length = int.from_bytes(data[:8], "little")
    header: Pairs = json.loads(data[8 : 8 + length], object_pairs_hook=Pairs)
    rest = data[8 + length :]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice((_value, _value, _value, _pair, _pair, _tensor, _metadata))(random, header)
    text = _dump(header).encode("utf-8", "surrogatepass")
    text = random.choice(_FRAMES)(random, text)
    if random.random() < 0.3:
        rest = (rest + bytes(64))[: max(0, len(rest) + random.choice((-4, -1, 1, 4, 8, 16)))]
    stated = len(text)
    if random.random() < 0.1:
        stated = max(0, numbers.integer(random, stated)) % (1 << 64)
    return stated.to_bytes(8, "little") + text + rest


def _dump(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{_dump(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _anything(random: Random) -> Any:
    """Any value, including values that are not JSON."""
    kind = random.randrange(8)
    if kind < 3:
        return numbers.integer(random)
    if kind < 5:
        return numbers.text(random)
    if kind == 5:
        return [numbers.integer(random) for _ in range(random.randrange(4))]
    if kind == 6:
        depth = random.choice((2, 100, 200, 2000))
        return Raw(random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth)))
    wrong = ("null", "true", "1.0", "1e2", "1e400", "-0", "NaN", "01", "'a'", "{}", '"\\ud800"')
    return Raw(random.choice(wrong))


def _objects(value: Any) -> list[Any]:
    """All objects and lists of a document."""
    if not isinstance(value, list):
        return []
    members = [v for _, v in value] if isinstance(value, Pairs) else value
    return [value, *(found for member in members for found in _objects(member))]


def _value(random: Random, header: Pairs) -> None:
    """Replace a value."""
    found = random.choice(_objects(header))
    if found:
        at = random.randrange(len(found))
        if isinstance(found, Pairs):
            found[at] = found[at][0], _near(random, found[at][1])
        else:
            found[at] = _near(random, found[at])


def _near(random: Random, value: Any) -> Any:
    if type(value) is int and random.random() < 0.6:
        return numbers.integer(random, value)
    if value in _DTYPES and random.random() < 0.8:
        return random.choice(_DTYPES)
    return _anything(random)


def _pair(random: Random, header: Pairs) -> None:
    """Add, remove, rename or move a member."""
    found = random.choice([v for v in _objects(header) if isinstance(v, Pairs)])
    at = random.randrange(len(found) + 1)
    if at == len(found) or random.random() < 0.2:
        found.insert(at, (numbers.text(random), _anything(random)))
    elif (kind := random.randrange(4)) == 0:
        del found[at]
    elif kind == 1:
        found.append(found[at])
    elif kind == 2:
        names = [name for name, _ in found]
        found[at] = random.choice((*names, numbers.text(random))), found[at][1]
    else:
        random.shuffle(found)


def _tensor(random: Random, header: Pairs) -> None:
    """Add a tensor that is nearly valid."""
    at = random.choice((0, 8, 48, 54, 62))
    shape = random.choice(([], [0], [1], [2], [0, 2**40], [1] * 70, [2**32, 2**32, 0]))
    size = random.choice((0, 1, 2, 4, 8))
    entry = Pairs()
    entry += [
        ("dtype", random.choice(_DTYPES)),
        ("shape", shape),
        ("data_offsets", [at, at + size]),
    ]
    header.append((numbers.text(random), entry))


def _metadata(random: Random, header: Pairs) -> None:
    """Replace the provenance."""
    name = random.choice(("dropcli", numbers.text(random)))
    texts = (
        "[]",
        "{}",
        "",
        "[1]",
        "[1e999]",
        "[NaN]",
        "[" * 3000,
        '"',
        "[null]",
        '[{"settings":3}]',
    )
    header.append(("__metadata__", Pairs([(name, random.choice(texts))])))


_FRAMES: list[Callable[[Random, bytes], bytes]] = [
    *[lambda random, text: text] * 12,
    lambda random, text: text + b" " * random.choice((1, 8, 4096)),
    lambda random, text: b" " * random.choice((1, 8)) + text,
    lambda random, text: b"\xef\xbb\xbf" + text,
    lambda random, text: text + b"\0" * 8,
    lambda random, text: text[: random.randrange(len(text) + 1)],
    lambda random, text: text.replace(b":", b" : ", 3),
    lambda random, text: text.replace(b'"', b"\xff", random.randrange(4)),
    lambda random, text: text + text,
]
