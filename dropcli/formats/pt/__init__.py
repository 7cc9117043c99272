"""`.pt` files, read without running their pickles."""

from dropcli.formats.pt.archive import archive_of as archive_of
from dropcli.formats.pt.legacy import LegacySource as LegacySource
from dropcli.formats.pt.rebuild import MAX_DIMENSIONS as MAX_DIMENSIONS
from dropcli.formats.pt.rewrite import pickled_int as pickled_int
from dropcli.formats.pt.rewrite import pickled_text as pickled_text
from dropcli.formats.pt.source import PtSource as PtSource
