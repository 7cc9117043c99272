"""Statistics of the tensors of files, and differences between two files."""

from dropcli.contents.difference import FileDifference as FileDifference
from dropcli.contents.difference import TensorDifference as TensorDifference
from dropcli.contents.difference import compare as compare
from dropcli.contents.statistics import read_statistics as read_statistics
