"""Objects in stores, with the interface of files: read at any position, and published whole.

Import it late, because it imports the library for object stores.
"""

from dropcli.files.stores.claim import left_behind as left_behind
from dropcli.files.stores.log import ObjectLog as ObjectLog
from dropcli.files.stores.log import first_line as first_line
from dropcli.files.stores.log import remove_parts as remove_parts
from dropcli.files.stores.objects import head as head
from dropcli.files.stores.objects import is_prefix as is_prefix
from dropcli.files.stores.objects import list_objects as list_objects
from dropcli.files.stores.objects import match_objects as match_objects
from dropcli.files.stores.objects import prefixes_in as prefixes_in
from dropcli.files.stores.reader import ObjectReader as ObjectReader
from dropcli.files.stores.reader import fetched_ahead as fetched_ahead
from dropcli.files.stores.writer import Uploads as Uploads
from dropcli.files.stores.writer import publish_object as publish_object
