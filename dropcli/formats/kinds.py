"""Describe files that cannot be read, by their first bytes or their zip members."""

import codecs
import re
import zipfile
from collections.abc import Collection
from typing import NamedTuple

from dropcli.errors import FormatError
from dropcli.files import Reader

_RESAVE = "if you trust it, load it with torch and save it again"
_NEITHER = "neither a .pt (zip) nor a safetensors file"
_ARRAYS = "load it in Python and save its arrays with torch.save or safetensors"
_IMAGE = "load it in Python and save its pixels with torch.save or safetensors"
_PIPE = "pipe it in: `{} -dc FILE | dropcli ... -`"
_EXPORT = "save the state_dict() of its module with torch.save"
_SHARD = "a part of a distributed checkpoint, not a complete file"
_JOIN = (
    "join the parts: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER x.pt"
)
_OTHER = "unsupported-format"
_FEW_BYTES = 2  # could be text or the start of a safetensors file


class Kind(NamedTuple):
    """A kind of file, a hint, and the code of its error if that of the reader does not fit."""

    name: str
    hint: str | None = None
    code: str | None = None


# Kinds, by a pattern for their first bytes.
_KINDS = {
    rb"version https://git-lfs": Kind("a Git LFS pointer", "run `git lfs pull`", "git-lfs-pointer"),
    rb"\x1f\x8b": Kind("gzip data", _PIPE.format("gzip"), "compressed"),
    rb"\xfd7zXZ\0": Kind("xz data", _PIPE.format("xz"), "compressed"),
    rb"\x28\xb5\x2f\xfd": Kind("zstd data", _PIPE.format("zstd"), "compressed"),
    rb"BZh[1-9]1AY": Kind("bzip2 data", _PIPE.format("bzip2")),
    rb"PYTORCH1": Kind("a file of torch before version 0.1", _RESAVE, _OTHER),
    rb"\x80[\1-\5]": Kind(
        "a pickle", "if you trust it, load it with pickle and save it with torch", _OTHER
    ),
    rb"(sys_info|pickle|tensors|storages)\0.{245,252}ustar": Kind(
        "a tar archive of torch before version 0.1.10", _RESAVE, _OTHER
    ),
    rb".{257}ustar": Kind("a tar archive", _RESAVE, _OTHER),
    rb"\x93NUMPY": Kind("a numpy array (.npy)", _ARRAYS, _OTHER),
    rb"\{": Kind(
        "JSON", "if it is an index, use the .safetensors files that it lists", "not-tensors"
    ),
    rb"<(!doctype html|html)": Kind("an HTML page", "download the file again", "not-tensors"),
    rb"\x89PNG\r\n": Kind("a PNG image", _IMAGE),
    rb"\xff\xd8\xff": Kind("a JPEG image", _IMAGE),
    rb"GIF8[79]a": Kind("a GIF image", _IMAGE),
    rb"RIFF.{4}WEBP": Kind("a WebP image", _IMAGE),
    rb"II\*\0|MM\0\*": Kind("a TIFF image", _IMAGE),
    rb"RIFF.{4}WAVE": Kind("a WAV sound", _ARRAYS),
    rb"\x89HDF\r\n": Kind("an HDF5 file", _ARRAYS),
    rb"CDF[\1\2\5]": Kind("a NetCDF file", _ARRAYS),
    rb"MATLAB 5\.0": Kind("a MATLAB file", _ARRAYS),
    rb"PAR1": Kind("a Parquet file", _ARRAYS),
    rb"ARROW1": Kind("an Arrow file", _ARRAYS),
    rb"SQLite format 3": Kind("an SQLite database", _ARRAYS),
    rb"GGUF": Kind("a GGUF model"),
    rb"%PDF-": Kind("a PDF document"),
}
# Zip archives, by a pattern for one of their members.
_ZIPS = {
    r"(.*/)?(archive_format|serialized_exported_program\.json)": Kind(
        "a torch.export program (.pt2)", _EXPORT, "torch-export"
    ),
    r".*/\.data/extern_modules": Kind("a torch.package archive", _EXPORT, "torch-package"),
}


def explain(error: FormatError, head: bytes, reader: Reader) -> FormatError:
    """The error for a file that begins with `head`, with a description of the file."""
    if reader.path.lower().endswith(".distcp"):
        return FormatError("distributed-checkpoint", _SHARD, _JOIN)
    if head.startswith(b"PK\3\4"):
        kind = None if error.code == "damaged-archive" else _zip_kind(_members(reader))
    else:
        kind = None if _is_safetensors(head) else _kind(head)
    if kind is None:
        return error
    looks = f"; it looks like {kind.name}" if kind.name else ""
    return FormatError(kind.code or error.code, f"{_NEITHER}{looks}", kind.hint)


def _is_safetensors(head: bytes) -> bool:
    """Whether there is a header of valid length that begins as JSON."""
    return head[4:8] == bytes(4) and head[8:9] in (b"{", b" ", b"\n")


def _kind(head: bytes) -> Kind | None:
    """The kind of a file that has neither format; None if it is too short to decide."""
    for pattern, kind in _KINDS.items():
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return kind
    if len(head) > _FEW_BYTES and _is_text(head):
        return Kind("text", "tensors are saved with torch.save or safetensors")
    return Kind("", "if it should be one, copy or download it again") if len(head) > 8 else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char.isspace() for char in text)


def _members(reader: Reader) -> list[str]:
    with reader.file() as file, zipfile.ZipFile(file) as archive:
        return archive.namelist()


def _zip_kind(members: Collection[str]) -> Kind | None:
    """The kind of a zip archive that torch.save did not write; None if it may have written it."""
    for pattern, kind in _ZIPS.items():
        if any(re.fullmatch(pattern, name) for name in members):
            return kind
    if members and all(name.endswith(".npy") for name in members):
        return Kind("numpy arrays (.npz)", _ARRAYS, "numpy-archive")
    if not any(re.split(r"[/\\]", name)[-1] == "data.pkl" for name in members):
        return Kind("a zip archive without the data.pkl of torch.save")
    return None
