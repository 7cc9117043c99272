"""File formats: how files store tensors, and the order in which bytes are written."""

from dropcli.formats.base import Checksum as Checksum
from dropcli.formats.base import Deferred as Deferred
from dropcli.formats.base import Extent as Extent
from dropcli.formats.base import Gathered as Gathered
from dropcli.formats.base import Made as Made
from dropcli.formats.base import Segment as Segment
from dropcli.formats.base import Source as Source
from dropcli.formats.concat import Concatenated as Concatenated
from dropcli.formats.concat import label as label
from dropcli.formats.detect import convert as convert
from dropcli.formats.detect import convert_to_mask as convert_to_mask
from dropcli.formats.detect import open_source as open_source
from dropcli.formats.elements import GAP as GAP
from dropcli.formats.elements import element_blocks as element_blocks
from dropcli.formats.elements import elements_at as elements_at
from dropcli.formats.info import FileInfo as FileInfo
from dropcli.formats.info import info_of as info_of
from dropcli.formats.info import read_info as read_info
from dropcli.formats.recognize import is_tensor_file as is_tensor_file
