"""`dropcli info --stats`: the statistics of all tensors of a file, in constant memory."""

from contextlib import closing
from typing import Any

import numpy as np

from dropcli.dropout import reader_for
from dropcli.errors import located
from dropcli.files import place_of
from dropcli.formats import FileInfo, Source, element_blocks, info_of, open_source
from dropcli.pipeline import SAMPLE, Sample, Summary, stride_of, summarize
from dropcli.report import Histogram
from dropcli.tensors import TensorInfo

_BLOCK = 1 << 18  # a multiple of the block of statistics
_BARS = 16


def read_statistics(path: str) -> FileInfo:
    """Read the description of a file, with the statistics of its tensors."""
    with located(place_of(path)), closing(open_source(path)) as source:
        info = info_of(path, source)
        info.statistics = {}
        for tensor in sorted(source.tensors, key=lambda tensor: tensor.offset):  # as pipes need
            info.statistics[tensor.name] = _statistics(source, tensor)
        source.finish()
        return info


def _statistics(source: Source, tensor: TensorInfo) -> dict[str, Any] | None:
    """The tensor's part of the JSON document; None if its elements are not numbers."""
    if tensor.dtype.kind == "opaque" or tensor.unsupported:
        return None
    values_of = reader_for(tensor.dtype)
    summary, sample, first = Summary(), Sample(), 0
    stride = stride_of(tensor.elements, SAMPLE)
    with np.errstate(all="ignore"):
        for block in element_blocks(source, tensor, _BLOCK):
            values = values_of(block.view(np.uint8))
            for part in summarize(values):
                summary.merge(part)
            sample.before.append(values[-first % stride :: stride].copy())
            first += len(values)
        sample.after = sample.before
        histogram = Histogram.of(tensor.name, sample)
    return {**summary.document(), "histogram": _bars(histogram) if histogram else None}


def _bars(histogram: Histogram) -> dict[str, Any] | None:
    """The histogram with fewer bins; None if all values are zero or not finite."""
    counts = np.array(histogram.before).reshape(_BARS, -1).sum(axis=1).tolist()
    if not any(counts):
        return None
    return {
        "low": histogram.low,
        "high": histogram.high,
        "counts": counts,
        "sampled": histogram.sampled,
    }
