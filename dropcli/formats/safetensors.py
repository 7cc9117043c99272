"""safetensors files: the header is checked by the safetensors library, the data is streamed.

A file is an 8-byte little-endian length, a JSON header of that length, and the data without
holes. Dropout keeps every dtype and shape, so the output's header is the input's but for the
provenance, which is the entry "dropcli" of `__metadata__`.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from dropcli.errors import FormatError, located
from dropcli.files import Reader
from dropcli.formats.base import Extent, Segment, Source, dump_entries, parse_entries
from dropcli.tensors import DTYPES, TensorInfo

_MAX_HEADER_BYTES = 100_000_000  # the library's own limit
_MAX_VALUES = 1 << 21  # in a header that describes few tensors; parsed they are half a gigabyte
_MAX_VALUES_EACH = 16
_MAX_BYTES = 1 << 43  # 8 TiB; file systems take 16
METADATA = "__metadata__"
PROVENANCE = "dropcli"


class SafetensorsSource(Source):
    """An open safetensors file. FormatError if the library would not open it, or names repeat."""

    format = "safetensors"

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.notes: list[str] = []
        self._header_bytes = _read_header(reader)
        self._header = _parse(self._header_bytes)
        self._made: tuple[list[Any] | None, bytes] | None = None  # the last header that was asked
        start = 8 + len(self._header_bytes)
        self.size = start + _data_bytes(self._header)
        _check(reader, self._header_bytes, self.size)

        self.metadata: dict[str, str] = self._header.get(METADATA) or {}
        self.provenance = parse_entries(self.metadata.get(PROVENANCE, "[]"))
        entries = [(name, entry) for name, entry in self._header.items() if name != METADATA]
        entries.sort(key=lambda item: item[1]["data_offsets"])
        self.tensors = [_tensor(name, entry, start) for name, entry in entries]

    def check_selected(self, names: Collection[str]) -> None:
        """Tensors never share bytes here."""

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then the tensors in the order of their data."""
        if self._made is None or self._made[0] is not provenance:
            self._made = (provenance, self._output_header(provenance))
        yield self._made[1]
        for tensor in self.tensors:
            yield Extent(tensor.offset, tensor.nbytes, (tensor,))

    def _output_header(self, provenance: list[Any] | None) -> bytes:
        """The length and the header; the data after it stays as aligned as it was."""
        header = self._header_bytes
        if provenance is None:
            return len(header).to_bytes(8, "little") + header
        entry = {PROVENANCE: dump_entries(provenance)}
        changed = {METADATA: {}, **self._header} | {METADATA: {**self.metadata, **entry}}
        start = 8 + len(header)
        return dump(changed, alignment=min(max(start & -start, 8), 4096))


def _read_header(reader: Reader) -> bytes:
    prefix = reader.peek(8)
    if len(prefix) < 8:
        got = f"{len(prefix)} bytes" if prefix else "an empty file"
        raise FormatError("truncated-header", f"expected a safetensors file, got {got}")
    length = int.from_bytes(prefix, "little")
    if length > _MAX_HEADER_BYTES:
        raise FormatError(
            "header-too-large",
            f"expected a safetensors file, got one whose header would have {length:,} bytes",
            f"the most there can be is {_MAX_HEADER_BYTES:,}: is it another kind of file?",
        )
    if reader.size is not None and length > reader.size - 8:
        raise FormatError(
            "truncated-header",
            f"expected a header of {length:,} bytes, got a file of {reader.size:,}",
            "the file is incomplete: copy or save it again",
        )
    header = reader.read(0, 8 + length)[8:]
    values = header.count(b",")
    if values > max(_MAX_VALUES, _MAX_VALUES_EACH * header.count(b'"data_offsets"')):
        _invalid(f"{values:,} values, far more than its tensors need")
    return header


def _parse(header: bytes) -> dict[str, Any]:
    """The header as JSON, refusing names that repeat: readers differ in which one they believe."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, value in pairs:
            if name in members:
                raise FormatError("duplicate-name", f"expected names once, got '{name}' twice")
            members[name] = value
        return members

    try:
        parsed = json.loads(header.decode(), object_pairs_hook=unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        _invalid(f"not UTF-8 at byte {8 + error.start}")
    except (ValueError, RecursionError) as error:
        _invalid(str(error))
    if not isinstance(parsed, dict):
        _invalid(f"expected a JSON object, got {type(parsed).__name__}")
    return parsed


def _data_bytes(header: dict[str, Any]) -> int:
    """Where the data says it ends; a header that is wrong in other ways is `_check`'s to refuse."""
    ends = [0]
    for name, entry in header.items():
        if name != METADATA:
            match entry:
                case {"data_offsets": [int(), int() as end]}:
                    ends.append(end)
    return max(ends)


def _check(reader: Reader, header: bytes, size: int) -> None:
    """The library's verdict on this very header, and on the size of the file."""
    if reader.size is not None and reader.size != size:
        missing = size - reader.size
        code = "truncated-data" if missing > 0 else "trailing-data"
        _check_twin(header, size)  # what else is wrong with it comes first
        raise FormatError(
            code,
            f"expected {size:,} bytes, got {reader.size:,}",
            "the file is incomplete: copy or save it again" if missing > 0 else None,
        )
    if reader.seekable:
        _safe_open(reader.path)
    else:
        _check_twin(header, size)


def _check_twin(header: bytes, size: int) -> None:
    """Check a header without its data, by a sparse file of the right length."""
    import tempfile  # slow to import, and rarely needed

    with tempfile.NamedTemporaryFile(suffix=".safetensors") as twin:
        twin.write(len(header).to_bytes(8, "little") + header)
        twin.flush()
        if size > _MAX_BYTES:
            _invalid(f"data of {size:,} bytes, more than any file can have")
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
    raise FormatError("invalid-header", f"expected a valid safetensors header, got {reason}")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _tensor(name: str, entry: dict[str, Any], start: int) -> TensorInfo:
    begin, end = entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise FormatError(
            "unknown-dtype",
            f"tensor '{name}': expected one of {', '.join(DTYPES)}, got {entry['dtype']}",
        )
    return TensorInfo(name, dtype, tuple(entry["shape"]), start + begin, end - begin)


def new_header(
    tensors: Iterable[TensorInfo], metadata: dict[str, str], provenance: list[Any] | None
) -> bytes:
    """The length and the header of a file that holds these tensors in this order."""
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

    FormatError if the library would not read it.
    """
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        _invalid(str(error))
    data = text.encode()
    data += b" " * (-(8 + len(data)) % alignment)
    if len(data) > _MAX_HEADER_BYTES:
        _invalid(f"{len(data):,} bytes with the provenance")
    return len(data).to_bytes(8, "little") + data
