"""`dropcli diff`: what differs between two files, tensor by tensor, in constant memory."""

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dropcli.dropout import reader_for
from dropcli.errors import located
from dropcli.files import check_urls, place_of
from dropcli.formats import Source, element_blocks, open_source
from dropcli.tensors import Dtype, TensorInfo

_BLOCK = 1 << 17  # elements

Raw = NDArray[np.uint8]


@dataclass
class Factor:
    """The ratio of elements in the second file to those in the first.

    Only elements that are nonzero, finite and normal in both files count.
    """

    low: float = math.inf
    high: float = -math.inf
    of: int = 0  # the number of elements
    _before: float = 0.0
    _after: float = 0.0

    def add(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
        """Add elements that are neither zero nor too small to be exact."""
        if not len(before):
            return
        ratios = after / before
        self.low, self.high = min(self.low, ratios.min()), max(self.high, ratios.max())
        self.of += len(before)
        self._before += float(np.abs(before).sum())
        self._after += float(np.abs(after).sum())

    def common(self, eps: float) -> float | None:
        """The factor, if all elements have the same one up to rounding by `eps`; otherwise None."""
        if not self.of or self.high - self.low > 2 * eps * abs(self.high):
            return None
        mean = math.copysign(self._after / self._before, self.high)
        return mean if self.low <= mean <= self.high else self.low


Number = float | int | str | None


@dataclass
class TensorDifference:
    """The difference of one tensor between two files.

    Attributes:
        status: "kind" if dtypes or shapes differ, "unknown" if elements cannot be read.
        changed: elements whose bits differ, including those that became zero.
        zeroed: elements that became zero.
        first: the index of the first element whose bits differ, with both values.
    """

    name: str
    status: Literal["equal", "changed", "only-in-a", "only-in-b", "kind", "unknown"]
    before: TensorInfo | None = None
    after: TensorInfo | None = None
    elements: int = 0
    changed: int = 0
    zeroed: int = 0
    factor: float | None = None
    factor_min: float | None = None
    factor_max: float | None = None
    first: tuple[tuple[int, ...], Number, Number] | None = None

    def document(self) -> dict[str, Any]:
        """The tensor's part of the JSON document."""
        compared = self.status in ("equal", "changed")
        first = None
        if self.first:
            index, before, after = self.first
            first = {"index": list(index), "before": before, "after": after}
        return {
            "name": self.name,
            "status": self.status,
            "before": _kind(self.before),
            "after": _kind(self.after),
            "elements": self.elements if compared else None,
            "changed": self.changed if compared else None,
            "zeroed": self.zeroed if compared else None,
            "factor": self.factor,
            "factor_min": self.factor_min,
            "factor_max": self.factor_max,
            "first": first,
        }


def _kind(tensor: TensorInfo | None) -> dict[str, Any] | None:
    return None if tensor is None else {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}


@dataclass
class FileDifference:
    """The differences between two files; tensors are in the order of the first file."""

    before: str
    after: str
    tensors: list[TensorDifference]

    @property
    def different(self) -> bool:
        """Whether any tensor differs."""
        return any(tensor.status != "equal" for tensor in self.tensors)

    def document(self) -> dict[str, Any]:
        """The two files' part of the JSON document."""
        return {
            "source": self.before,
            "output": self.after,
            "status": "different" if self.different else "same",
            "tensors": [tensor.document() for tensor in self.tensors],
        }


def compare(before: str, after: str) -> FileDifference:
    """Compare the tensors of two files, matched by name."""
    check_urls([before, after])
    with ExitStack() as stack:
        sources = []
        for path in (before, after):
            with located(place_of(path)):
                sources.append(stack.enter_context(closing(open_source(path))))
        ours, theirs = ({t.name: t for t in source.tensors} for source in sources)
        tensors = []
        for name, tensor in ours.items():
            if name in theirs:
                pair = _Pair((before, after), sources, (tensor, theirs[name]))
                tensors.append(pair.difference())
            else:
                tensors.append(TensorDifference(name, "only-in-a", tensor))
        for name, tensor in theirs.items():
            if name not in ours:
                tensors.append(TensorDifference(name, "only-in-b", None, tensor))
        for path, source in zip((before, after), sources, strict=True):
            with located(place_of(path)):
                source.finish()
    return FileDifference(before, after, tensors)


@dataclass
class _Pair:
    """The same tensor in two files."""

    paths: tuple[str, str]
    sources: list[Source]
    tensors: tuple[TensorInfo, TensorInfo]

    def difference(self) -> TensorDifference:
        one, two = self.tensors
        found = TensorDifference(one.name, "equal", one, two, one.elements)
        if (one.dtype, one.shape) != (two.dtype, two.shape):
            found.status = "kind"
        elif one.unsupported or two.unsupported or one.dtype.name == "?":
            found.status = "unknown"
        else:
            self._count(found)
        return found

    def _count(self, found: TensorDifference) -> None:
        dtype, factor, start = self.tensors[0].dtype, Factor(), 0
        blocks = [
            element_blocks(source, tensor, _BLOCK)
            for source, tensor in zip(self.sources, self.tensors, strict=True)
        ]
        while True:
            pair = []
            for path, elements in zip(self.paths, blocks, strict=True):
                with located(place_of(path)):
                    pair.append(next(elements, None))
            before, after = pair
            if before is None or after is None:
                break
            _count_block(found, dtype, factor, start, before.view(np.uint8), after.view(np.uint8))
            start += _BLOCK
        if not found.changed:
            return
        found.status = "changed"
        if factor.of and dtype.kind != "opaque":
            found.factor = factor.common(_eps(dtype))
            found.factor_min, found.factor_max = float(factor.low), float(factor.high)


def _count_block(
    found: TensorDifference, dtype: Dtype, factor: Factor, start: int, before: Raw, after: Raw
) -> None:
    itemsize = max(1, dtype.bits // 8)
    other = (before != after).reshape(-1, itemsize).any(axis=1)
    changed = int(np.count_nonzero(other))
    if dtype.kind == "opaque":
        found.changed += changed
        return
    with np.errstate(all="ignore"):
        one, two = (reader_for(dtype)(raw.copy()).astype(np.float64) for raw in (before, after))
        if changed and not found.first:
            place = int(other.argmax())
            shape = found.before.shape if found.before else ()
            index = tuple(map(int, np.unravel_index(start + place, shape)))
            found.first = index, _number(dtype, before, place), _number(dtype, after, place)
        found.changed += changed
        found.zeroed += int(np.count_nonzero(other & (one != 0) & (two == 0)))
        small = _tiny(dtype)
        sound = np.isfinite(one) & np.isfinite(two) & (abs(one) >= small) & (abs(two) >= small)
        factor.add(one[sound], two[sound])


def _number(dtype: Dtype, raw: Raw, place: int) -> Number:
    """One element as a JSON value."""
    itemsize = dtype.bits // 8
    element = raw[place * itemsize : (place + 1) * itemsize]
    if dtype.kind == "bool":
        return int(element[0] != 0)
    value = element.view(dtype.numpy)[0]
    if dtype.kind == "complex":
        return str(complex(value))
    number: float | int = int(value) if dtype.kind == "integer" else float(value)
    return number if math.isfinite(number) else str(number)


def _eps(dtype: Dtype) -> float:
    return 0.0 if dtype.kind in ("integer", "bool") else float(_limits(dtype).eps)


def _tiny(dtype: Dtype) -> float:
    """The smallest number that has full precision."""
    return 1.0 if dtype.kind in ("integer", "bool") else float(_limits(dtype).smallest_normal)


def _limits(dtype: Dtype) -> Any:
    if dtype.kind == "float8" or dtype.name == "BF16":
        import ml_dtypes

        limits: Any = ml_dtypes.finfo
        return limits(dtype.numpy)
    return np.finfo(dtype.numpy)
