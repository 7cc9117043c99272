"""Files and values for several tests: files that no library would write, and datasets."""

import io
import json
import math
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests import oracle

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def pack(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {**F32, **changes}}


DATA = bytes(8)


def g(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    parts = (b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + b"".join(parts) + b"\x93"


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


def tensor(**changes: Any) -> bytes:
    """A `.pt` file of one tensor that views 4 elements."""
    return archive(tensor_pickle(**changes), **{"data/0": bytes(16)})


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def legacy(content: Any, **options: Any) -> bytes:
    """A file as torch saved it before version 1.6."""
    return saved(content, _use_new_zipfile_serialization=False, **options)


def legacy_file(
    pickled: bytes, storages: dict[str, tuple[int, bytes]], *, little: bool = True
) -> bytes:
    """A legacy file of this pickle: by key the elements of each storage, counted."""
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
    contents = b"".join(struct.pack("<q", count) + data for count, data in storages.values())
    return head + pickled + pickle.dumps([*storages], 2) + contents


def _storage_of(storage: Any) -> str:
    name: str = storage._pickle_storage_type()
    return name


def numbered_legacy(content: Any, protocol: int = 2) -> bytes:
    """The same, but with numbered storages, so that the bytes are the same in each run."""
    storages: dict[str, tuple[int, bytes]] = {}
    keys: dict[int, str] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, torch.storage.TypedStorage):
                return None
            untyped = obj._untyped_storage
            key = keys.setdefault(untyped._cdata, str(len(keys)))
            count = len(untyped) // obj.dtype.itemsize
            storages[key] = count, bytes(untyped)
            kind = getattr(torch, _storage_of(obj))
            return ("storage", kind, key, "cpu", count, None)

    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(content)
    return legacy_file(buffer.getvalue(), storages)


def string2(text: str) -> bytes:
    """A string as Python 2 pickles it."""
    data = text.encode()
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else long_string2(data)


def long_string2(data: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(data)) + data


def tensor2(key: str, numel: int, *shape: int, offset: int = 0, part: bytes = b"N") -> bytes:
    """A float32 tensor as Python 2 pickles it; `part`: which of another storage it views."""
    strides = [math.prod(shape[at + 1 :]) for at in range(len(shape))]
    numbers = [b"(" + b"".join(b"K%c" % n for n in sizes) + b"t" for sizes in (shape, strides)]
    kind = g("torch", "FloatStorage")
    parts = (string2("storage"), kind, string2(key), string2("cpu"), b"K%c" % numel, part)
    storage = b"(" + b"".join(parts) + b"tQ"
    hooks = g("collections", "OrderedDict") + b")R"
    arguments = storage + b"K%c" % offset + numbers[0] + numbers[1] + b"\x89" + hooks
    return g("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def dict2(*pairs: tuple[bytes, bytes]) -> bytes:
    """An OrderedDict as Python 2 pickles it: a list of lists of two."""
    lists = b"".join(b"](" + key + value + b"e" for key, value in pairs)
    return g("collections", "OrderedDict") + b"(](" + lists + b"etR"


def changed(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


def stored(members: dict[str, bytes]) -> bytes:
    """A zip archive with these members, stored, with these names even if they are invalid."""
    local, directory = b"", b""
    for text, data in members.items():
        name, crc = text.encode(), zlib.crc32(data)
        about = (crc, len(data), len(data), len(name))
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 6, *about, *[0] * 5, len(local))
        directory += name
        local += struct.pack("<4s5H3I2H", b"PK\3\4", *[0] * 5, *about, 0) + name + data
    counts = (len(members), len(members), len(directory), len(local))
    return local + directory + struct.pack("<4s2H2H2IH", b"PK\5\6", 0, 0, *counts, 0)


def sparse(path: str, header: str, size: int) -> None:
    text = header.encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + size)


def sample(path: str | Path, number: int = 0) -> torch.Tensor:
    """One file of a dataset, in the format of its suffix."""
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(number)) + 0.5
    tensors = {"x": x, "label": torch.tensor(number)}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return x


def labelled(path: str, **more: torch.Tensor) -> None:
    """A file with float labels."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb": torch.ones(8, 4), "label": torch.ones(8), **more}, path)


def tree(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder but the journal."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.name != "dropcli.jsonl"
    }


def journal(folder: str = "out", name: str = "dropcli.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(folder, name).read_text().splitlines()]


def special_values(dtype: torch.dtype, count: int = 5003) -> torch.Tensor:
    """Random values, including every kind of special value."""
    generator = torch.Generator().manual_seed(1)
    if dtype in oracle.FLOAT8:
        return torch.arange(256, dtype=torch.uint8).repeat(20).view(dtype)
    if dtype in oracle.COMPLEX:
        parts = torch.float32 if dtype == torch.complex64 else torch.float64
        real, imag = special_values(parts), special_values(parts).flip(0)
        return torch.complex(real, imag)
    x = (torch.randn(count, dtype=torch.float64, generator=generator) * 100).to(dtype)
    smallest = torch.finfo(dtype).tiny / 4
    for i, value in enumerate(
        (0.0, -0.0, math.inf, -math.inf, math.nan, smallest, -smallest, torch.finfo(dtype).max)
    ):
        x[torch.rand(count, generator=generator) < 0.02] = value
        x[i] = value
    return x


def dropped_pt(x: torch.Tensor, name: str, p: float = 0.5, stream: str = "x") -> torch.Tensor:
    """A tensor of `x.pt` after dropout with seed 1."""
    drop = oracle.dropped(tuple(x.shape), p, oracle.key(1, stream, name))
    return oracle.dropout(x.contiguous(), drop, p)


def apply_pt(run: Any, content: Any, *options: object) -> Any:
    """Save, run the command, check the archive, and load the output."""
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-fo", "y.pt", "--seed", 1, "-q", *options)
    assert result.code == 0, result.err
    before, after = zipfile.ZipFile("x.pt"), zipfile.ZipFile("y.pt")
    assert after.testzip() is None
    assert after.namelist() == [*before.namelist(), "x/dropcli.json"]
    assert after.read("x/data.pkl") == before.read("x/data.pkl")
    assert offsets_are_aligned("y.pt")
    for mmap in (False, True):
        loaded = torch.load("y.pt", weights_only=False, mmap=mmap)
    return loaded


def offsets_are_aligned(path: str) -> bool:
    data = Path(path).read_bytes()
    for info in zipfile.ZipFile(path).infolist():
        at = info.header_offset
        names = [int.from_bytes(data[at + 26 + 2 * i : at + 28 + 2 * i], "little") for i in (0, 1)]
        if (at + 30 + sum(names)) % 64:
            return False
    return True


def names_in(run: Any, path: str = "x.pt") -> list[str]:
    return [t["name"] for t in run("info", "--json", path).json["files"][0]["tensors"]]
