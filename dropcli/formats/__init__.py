"""Tensor files by their content, whatever their names say."""

from pathlib import PurePath

from dropcli.errors import FormatError
from dropcli.formats.conversion import PtFromSafetensors, SafetensorsFromPt
from dropcli.formats.legacy import modernize
from dropcli.formats.pt import PtSource
from dropcli.formats.safetensors import SafetensorsSource
from dropcli.reader import Reader
from dropcli.tensors import Source

_HEAD_BYTES = 64
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
_OTHERS = (
    (b"version https://git-lfs", "git-lfs-pointer", "a Git LFS pointer", "run `git lfs pull`"),
    (b"\x1f\x8b", "compressed", "a gzip archive", "pipe it in: `gzip -dc FILE | dropcli ... -`"),
    (b"\xfd7zXZ\0", "compressed", "an xz archive", "pipe it in: `xz -dc FILE | dropcli ... -`"),
    (b"(\xb5/\xfd", "compressed", "a zstd archive", "pipe it in: `zstd -dc FILE | dropcli ... -`"),
    (b"\x93NUMPY", "unsupported-format", "a numpy array (.npy)", None),
    (b"{", "not-tensors", "JSON", "of an index file, name the .safetensors files that it lists"),
    (b"<!doctype html", "not-tensors", "an HTML page", "download the file again"),
    (b"<html", "not-tensors", "an HTML page", "download the file again"),
)


def open_source(path: str) -> Source:
    """Open a tensor file, `-` for standard input.

    Raises FormatError for what is damaged or of another kind, OSError where the system refuses.
    """
    reader = Reader(path)
    try:
        head = reader.peek(_HEAD_BYTES)
        for magic, code, what, hint in _OTHERS:
            if head[: len(magic)].lower() == magic.lower():
                raise FormatError(code, f"expected a tensor file, got {what}", hint)
        if head.startswith((_ZIP, _LEGACY)):
            if not reader.seekable:
                reader.spool()
            if head.startswith(_LEGACY):
                modernize(reader)
                return PtSource(reader, ["a file from before torch 1.6, written as a zip file"])
            return PtSource(reader)
        return SafetensorsSource(reader)
    except BaseException:
        reader.close()
        raise


def convert(source: Source, output: str) -> Source:
    """The source as the kind of file that the output's suffix names, if it names another."""
    suffix = PurePath(output).suffix.lower()
    if isinstance(source, SafetensorsSource) and suffix in (".pt", ".pth"):
        return PtFromSafetensors(source, PurePath(output).stem)
    if isinstance(source, PtSource) and suffix == ".safetensors":
        return SafetensorsFromPt(source)
    return source
