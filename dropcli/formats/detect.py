"""Detect the format of a file by its content, and open it."""

import re
from collections.abc import Collection
from pathlib import PurePath

from dropcli.errors import FormatError
from dropcli.files import Reader, open_reader
from dropcli.formats.base import Source
from dropcli.formats.safetensors import SafetensorsSource

_HEAD_BYTES = 512
ZIP = b"PK\x03\x04"
# Torch's magic number, which is the first pickle, in binary or, with protocol 1, in decimal.
_LEGACY = re.compile(rb".{0,22}l\xfc\x9cF\xf9 j\xa8P\x19|L119547037146038801333356L\n\.", re.DOTALL)


def is_legacy(head: bytes) -> bool:
    """Whether a file with these first bytes is from torch before version 1.6."""
    return _LEGACY.match(head) is not None


def open_source(path: str) -> Source:
    """Open a tensor file, or standard input for `-`.

    Raises:
        FormatError: the file is damaged or has another format.
        OSError: the system refuses.
    """
    reader = open_reader(path)
    try:
        head = reader.peek(_HEAD_BYTES)
        if is_legacy(head):
            return _open_pt(reader, legacy=True)
        try:
            return _open_pt(reader) if head.startswith(ZIP) else SafetensorsSource(reader)
        except FormatError as error:
            from dropcli.formats.kinds import explain  # slow to import, and rarely needed

            raise explain(error, head, reader) from None
    except BaseException:
        reader.close()
        raise


def _open_pt(reader: Reader, *, legacy: bool = False) -> Source:
    from dropcli.formats.pt import LegacySource, PtSource  # slow to import

    if not reader.seekable:
        reader.spool()
    return LegacySource(reader) if legacy else PtSource(reader)


def convert(source: Source, output: str) -> Source:
    """Return the source in the format of the output's suffix; unchanged for other suffixes."""
    # Without pathlib, if the name is enough: datasets have many small files.
    if isinstance(source, SafetensorsSource) and not output.lower().endswith((".pt", ".pth")):
        return source
    path = PurePath(output)  # unlike `splitext` it sees a suffix in `...pt`
    suffix = path.suffix.lower()
    from dropcli.formats.convert import PtFromSafetensors, SafetensorsFromPt  # slow to import
    from dropcli.formats.pt import PtSource

    if isinstance(source, SafetensorsSource):
        return PtFromSafetensors(source, path.stem) if suffix else source
    if isinstance(source, PtSource) and suffix == ".safetensors":
        return SafetensorsFromPt(source)
    return source


def convert_to_mask(source: Source, dropped: Collection[str], output: str) -> Source:
    """The keep masks of these tensors in the format of the output's suffix."""
    from dropcli.formats.keep_mask import keep_mask_of  # slow to import

    return keep_mask_of(source, dropped, output)
