"""How tensors lie in files, and in what order bytes are written."""

from dropcli.formats.base import Checksum, Deferred, Extent, Gathered, Segment, Source
from dropcli.formats.concat import Concatenated, label
from dropcli.formats.detect import convert, open_source
from dropcli.formats.info import FileInfo, read_info
from dropcli.formats.pt import PtSource

__all__ = [
    "Checksum",
    "Concatenated",
    "Deferred",
    "Extent",
    "FileInfo",
    "Gathered",
    "PtSource",
    "Segment",
    "Source",
    "convert",
    "label",
    "open_source",
    "read_info",
]
