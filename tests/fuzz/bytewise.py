"""All flipped bytes, all lengths and a few extensions of a file, by number."""

from collections.abc import Iterator

_MASKS = (0x01, 0x80, 0xFF, 0x20)


def count(data: bytes) -> int:
    """The number of these cases for a file."""
    return len(data) * (len(_MASKS) + 1) + len([*_extensions(data)])


def mutate(number: int, data: bytes) -> bytes:
    """The case with this number, below `count`."""
    flips = len(data) * len(_MASKS)
    if number < flips:
        at, mask = divmod(number, len(_MASKS))
        return data[:at] + bytes([data[at] ^ _MASKS[mask]]) + data[at + 1 :]
    if number < flips + len(data):
        return data[: number - flips]
    return [*_extensions(data)][number - flips - len(data)]


def _extensions(data: bytes) -> Iterator[bytes]:
    for more in (b"\0", b"\xff", b" ", bytes(16), bytes(4096), data, data[::-1], b"PK\5\6"):
        yield data + more
        yield more + data
