"""`.pt` files, read without being run."""

from dropcli.formats.pt.archive import Writer as Writer
from dropcli.formats.pt.legacy import convert_legacy as convert_legacy
from dropcli.formats.pt.rebuild import MAX_DIMENSIONS as MAX_DIMENSIONS
from dropcli.formats.pt.source import PROVENANCE as PROVENANCE
from dropcli.formats.pt.source import PtSource as PtSource
