"""A few samples of a file, before and after dropout, and pictures of them."""

from dropcli.samples.colors import Pixels as Pixels
from dropcli.samples.colors import pixels as pixels
from dropcli.samples.look import Look as Look
from dropcli.samples.look import Spread as Spread
from dropcli.samples.look import look as look
from dropcli.samples.sheet import columns as columns
from dropcli.samples.sheet import labelled_sheet as labelled_sheet
from dropcli.samples.sheet import png as png
