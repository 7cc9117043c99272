"""`.pt` files, read without being run."""

from dropcli.formats.pt.archive import Writer
from dropcli.formats.pt.legacy import convert_legacy
from dropcli.formats.pt.rebuild import MAX_DIMENSIONS
from dropcli.formats.pt.source import PROVENANCE, PtSource

__all__ = ["MAX_DIMENSIONS", "PROVENANCE", "PtSource", "Writer", "convert_legacy"]
