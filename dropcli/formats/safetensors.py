"""safetensors files: the library checks the header, and the data is streamed.

A file is an 8-byte little-endian length, a JSON header of that length, and the data without
gaps. Dropout keeps dtypes and shapes, so only the provenance changes in the header: the entry
"dropcli" of `__metadata__`.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from dropcli.errors import FormatError, located
from dropcli.files import Reader
from dropcli.formats.base import INCOMPLETE, Extent, Segment, Source, dump_entries, parse_entries
from dropcli.tensors import DTYPES, TensorInfo

_MAX_HEADER_BYTES = 100_000_000  # the library's own limit
_KNOWN_BYTES = 1 << 16  # of cached headers
_MAX_VALUES = 1 << 21  # in a header of few tensors; parsing them takes half a gigabyte
_MAX_VALUES_EACH = 16  # for each tensor, in a header of many tensors
_MAX_BYTES = 1 << 43  # 8 TiB; file systems allow 16
METADATA = "__metadata__"
PROVENANCE = "dropcli"

# `json.dumps` makes one in each call.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class SafetensorsSource(Source):
    """An open safetensors file.

    Raises FormatError if the library refuses it or a name occurs twice.
    """

    format = "safetensors"

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.notes: list[str] = []
        self._header_bytes = _read_header(reader)
        known = _described if len(self._header_bytes) <= _KNOWN_BYTES else _Described
        described = known(self._header_bytes)
        self._header = described.header
        self.size = described.size
        if not described.accepted or reader.size != self.size:
            _check(reader, self._header_bytes, self.size)
            described.accepted = True

        self.metadata: dict[str, str] = self._header.get(METADATA) or {}
        applied = self.metadata.get(PROVENANCE)
        self.provenance = [] if applied is None else parse_entries(applied)
        self.tensors = list(described.tensors)
        self._extents = described.extents

    def check_selected(self, names: Collection[str]) -> None:
        """Tensors never share bytes in this format."""

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then the tensors in the order of their data."""
        yield self._output_header(provenance)
        yield from self._extents

    def planned(self, provenance: list[Any] | None) -> tuple[Iterable[Segment], int]:
        """The segments; there are no gaps between them."""
        header = self._output_header(provenance)
        size = len(header) + self.size - 8 - len(self._header_bytes)
        return [header, *self._extents], size

    def _output_header(self, provenance: list[Any] | None) -> bytes:
        """The length and the header, padded so that the data keeps its alignment."""
        header = self._header_bytes
        if provenance is None:
            return len(header).to_bytes(8, "little") + header
        entry = {PROVENANCE: dump_entries(provenance)}
        changed = {METADATA: {}, **self._header} | {METADATA: {**self.metadata, **entry}}
        start = 8 + len(header)
        return dump(changed, alignment=min(max(start & -start, 8), 4096))


class _Described:
    """The content of a header, which may belong to many files; `accepted` by the library."""

    def __init__(self, header: bytes) -> None:
        self.header = _parse(header)
        self._start = 8 + len(header)
        self.size = self._start + _data_bytes(self.header)
        self.accepted = False

    @cached_property
    def tensors(self) -> list[TensorInfo]:
        """The tensors in the order of their data."""
        entries = [(name, entry) for name, entry in self.header.items() if name != METADATA]
        entries.sort(key=lambda item: item[1]["data_offsets"])
        return [_tensor(name, entry, self._start) for name, entry in entries]

    @cached_property
    def extents(self) -> list[Extent]:
        """The extents of the tensors, in the same order."""
        return [Extent(tensor.offset, tensor.nbytes, (tensor,)) for tensor in self.tensors]


_described = lru_cache(maxsize=64)(_Described)


def _read_header(reader: Reader) -> bytes:
    prefix = reader.peek(8)
    if len(prefix) < 8:
        problem = f"the file has only {len(prefix)} bytes" if prefix else "the file is empty"
        raise FormatError("truncated-header", problem, INCOMPLETE)
    length = int.from_bytes(prefix, "little")
    if length > _MAX_HEADER_BYTES:
        raise FormatError("header-too-large", f"a header of {length:,} bytes is too large")
    if reader.size is not None and length > reader.size - 8:
        problem = f"the header has {length:,} bytes, but the file has only {reader.size:,}"
        raise FormatError("truncated-header", problem, INCOMPLETE)
    header = reader.read(0, 8 + length)[8:]
    values = header.count(b",")
    if values > max(_MAX_VALUES, _MAX_VALUES_EACH * header.count(b'"data_offsets"')):
        _invalid(f"it holds {values:,} values, far more than its tensors need")
    return header


def _parse(header: bytes) -> dict[str, Any]:
    """The header as JSON. Raises FormatError if a name occurs twice: readers use different ones."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, value in pairs:
            if name in members:
                raise FormatError("duplicate-name", f"the header holds '{name}' twice")
            members[name] = value
        return members

    try:
        parsed = json.loads(header.decode(), object_pairs_hook=unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        _invalid(f"it is not UTF-8 at byte {8 + error.start}")
    except (ValueError, RecursionError) as error:
        _invalid(str(error))
    if not isinstance(parsed, dict):
        _invalid("it is not a JSON object")
    return parsed


def _data_bytes(header: dict[str, Any]) -> int:
    """The largest end of any tensor. `_check` refuses headers with other errors."""
    ends = [0]
    for name, entry in header.items():
        if name != METADATA:
            match entry:
                case {"data_offsets": [int(), int() as end]}:
                    ends.append(end)
    return max(ends)


def _check(reader: Reader, header: bytes, size: int) -> None:
    """Raise FormatError if the library refuses this header, or the file has another size."""
    if reader.size is not None and reader.size != size:
        _check_twin(header, size)  # errors of the header come first
        problem = f"the file has {reader.size:,} bytes, but its header describes {size:,}"
        if reader.size < size:
            raise FormatError("truncated-data", problem, INCOMPLETE)
        raise FormatError("trailing-data", problem)
    if reader.on_disk:
        _safe_open(reader.path)
    else:
        _check_twin(header, size)


def _check_twin(header: bytes, size: int) -> None:
    """Check a header without its data, in a sparse file of the right length."""
    import tempfile  # slow to import, and rarely needed

    with tempfile.NamedTemporaryFile(suffix=".safetensors") as twin:
        twin.write(len(header).to_bytes(8, "little") + header)
        twin.flush()
        if size > _MAX_BYTES:
            _invalid(f"it describes {size:,} bytes, more than a file can have")
        with located(twin.name):
            twin.truncate(size)
        _safe_open(twin.name)


def _safe_open(path: str) -> None:
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        _invalid(str(error).removeprefix("Error while deserializing header: "))


def _invalid(reason: str) -> NoReturn:
    raise FormatError("invalid-header", f"invalid safetensors header: {reason}")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _tensor(name: str, entry: dict[str, Any], start: int) -> TensorInfo:
    begin, end = entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise FormatError("unknown-dtype", f"tensor '{name}': unknown dtype {entry['dtype']}")
    return TensorInfo(name, dtype, tuple(entry["shape"]), start + begin, end - begin)


def new_header(
    tensors: Iterable[TensorInfo], metadata: dict[str, str], provenance: list[Any] | None
) -> bytes:
    """The length and the header of a file with these tensors in this order."""
    if provenance is not None:
        metadata = {**metadata, PROVENANCE: dump_entries(provenance)}
    header: dict[str, Any] = {METADATA: metadata} if metadata else {}
    position = 0
    for tensor in tensors:
        end = position + tensor.elements * tensor.dtype.bits // 8
        entry = {"dtype": tensor.dtype.name, "shape": tensor.shape}
        header[tensor.name] = {**entry, "data_offsets": [position, end]}
        position = end
    return dump(header)


def dump(header: dict[str, Any], alignment: int = 8) -> bytes:
    """The length and the header, padded so that the data after it is aligned.

    Raises:
        FormatError: the library could not read it.
    """
    try:
        text = _encode(header)
    except ValueError as error:
        _invalid(str(error))
    data = text.encode()
    data += b" " * (-(8 + len(data)) % alignment)
    if len(data) > _MAX_HEADER_BYTES:
        _invalid(f"it would have {len(data):,} bytes with the provenance")
    return len(data).to_bytes(8, "little") + data
