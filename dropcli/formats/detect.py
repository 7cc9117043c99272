"""Tell a file's format by its content, whatever its name says, and open it."""

from pathlib import PurePath

from dropcli.errors import FormatError
from dropcli.files import Reader
from dropcli.formats.base import Source
from dropcli.formats.safetensors import SafetensorsSource

_HEAD_BYTES = 512
_ZIP = b"PK\x03\x04"
_LEGACY = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # torch's magic number, within the first pickle
_STAND_IN = "torch.serialization.StorageType"  # what torch makes of such a class, and cannot read
_RESAVE = "where you trust it, load it with torch and save it again"
_OTHERS = (
    (b"version https://git-lfs", "git-lfs-pointer", "a Git LFS pointer", "run `git lfs pull`"),
    (b"\x1f\x8b", "compressed", "a gzip archive", "pipe it in: `gzip -dc FILE | dropcli ... -`"),
    (b"\xfd7zXZ\0", "compressed", "an xz archive", "pipe it in: `xz -dc FILE | dropcli ... -`"),
    (b"(\xb5/\xfd", "compressed", "a zstd archive", "pipe it in: `zstd -dc FILE | dropcli ... -`"),
    (b"PYTORCH1", "unsupported-format", "a file of a torch before its first version", None),
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
        legacy = _LEGACY in head[:32]
        if head[257:262] == b"ustar":
            raise FormatError(
                "unsupported-format", "expected a tensor file, got a tar archive", _RESAVE
            )
        if legacy or head.startswith(_ZIP):
            if not reader.seekable:
                reader.spool()
            from dropcli.formats.pt import PtSource, convert_legacy  # slow to import

            if legacy:
                convert_legacy(reader)
                source = PtSource(reader, ["a file from before torch 1.6, written as a zip file"])
                if _STAND_IN in source.unknown_classes:
                    raise FormatError(
                        "unreadable-legacy", "expected data, got the class of a storage among it"
                    )
                return source
            return PtSource(reader)
        if head[:1] == b"\x80" and head[1:2] in b"\1\2\3\4\5" and head[2:8] != bytes(6):
            hint = "where you trust it, load it with pickle and save it with torch"
            raise FormatError("unsupported-format", "expected a tensor file, got a pickle", hint)
        return SafetensorsSource(reader)
    except BaseException:
        reader.close()
        raise


def convert(source: Source, output: str) -> Source:
    """The source as the kind of file that the output's suffix names, if it names another."""
    suffix = PurePath(output).suffix.lower()
    if isinstance(source, SafetensorsSource) and suffix not in (".pt", ".pth"):
        return source
    from dropcli.formats.convert import PtFromSafetensors, SafetensorsFromPt  # slow to import
    from dropcli.formats.pt import PtSource

    if isinstance(source, SafetensorsSource):
        return PtFromSafetensors(source, PurePath(output).stem)
    if isinstance(source, PtSource) and suffix == ".safetensors":
        return SafetensorsFromPt(source)
    return source
