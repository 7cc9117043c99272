"""Files made byte by byte: what no library would write."""

import io
import json
import struct
import zipfile
import zlib
from typing import Any

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def pack(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {**F32, **changes}}


DATA = bytes(8)


def archive(pickled: bytes, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("x/data.pkl", pickled)
        for name, data in {"version": b"3\n", "byteorder": b"little", **members}.items():
            written.writestr(f"x/{name}", data)
    return buffer.getvalue()


def tensor_pickle(
    numel: int = 4, offset: int = 0, size: int = 4, stride: int = 1, key: str = "0"
) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nV%b\nV"
        b"cpu\nI%d\ntQI%d\n(I%d\nt(I%d\ntI00\nccollections\nOrderedDict\n(tRtR."
        % (key.encode(), numel, offset, size, stride)
    )


def stored(members: dict[str, bytes]) -> bytes:
    """A zip archive of these members as they are called, plain and unchecked."""
    local, directory = b"", b""
    for text, data in members.items():
        name, crc = text.encode(), zlib.crc32(data)
        about = (crc, len(data), len(data), len(name))
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 6, *about, *[0] * 5, len(local))
        directory += name
        local += struct.pack("<4s5H3I2H", b"PK\3\4", *[0] * 5, *about, 0) + name + data
    counts = (len(members), len(members), len(directory), len(local))
    return local + directory + struct.pack("<4s2H2H2IH", b"PK\5\6", 0, 0, *counts, 0)
