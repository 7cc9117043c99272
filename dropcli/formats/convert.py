"""Conversion between formats.

A safetensors output holds each tensor under its dotted name, in row-major order. A `.pt` output is
a flat dict of tensors. Content that the other format cannot store is refused before writing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dropcli.errors import FormatError
from dropcli.formats.base import Checksum, Derived, Segment, Source
from dropcli.formats.pt import MAX_DIMENSIONS, PtSource, archive_of, pickled_int, pickled_text
from dropcli.formats.safetensors import METADATA, PROVENANCE, new_header
from dropcli.tensors import TensorInfo, row_major_strides


class SafetensorsFromPt(Derived):
    """The tensors of a `.pt` file as a safetensors file.

    Raises FormatError if it cannot store them.
    """

    format = "safetensors"

    def __init__(self, source: PtSource) -> None:
        super().__init__(source)
        self._pt = source
        if left_over := source.first_non_tensor():
            raise _refusal(
                "not-only-tensors",
                f"safetensors can only store tensors, and '{left_over}' is not a tensor",
                ".pt",
            )
        check_safetensors(source.tensors)

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The header, then the tensors, with the widest elements first so that all are aligned."""
        tensors = sorted(self.tensors, key=lambda tensor: -tensor.dtype.bits)
        yield new_header(tensors, {}, provenance)
        for tensor in tensors:
            yield self.segment(tensor)

    def finish(self) -> None:
        """Raise FormatError if a checksum of the archive is wrong or the file has changed."""
        self._pt.verify()
        super().finish()


def _refusal(code: str, problem: str, suffix: str) -> FormatError:
    return FormatError(code, problem, f"use an output whose name ends in {suffix}")


def check_safetensors(tensors: Iterable[TensorInfo]) -> None:
    """Raise FormatError if a safetensors file cannot store these tensors."""
    for tensor in tensors:
        if reason := _not_in_safetensors(tensor):
            problem = f"tensor '{tensor.name}': safetensors cannot store it: {reason}"
            raise _refusal("not-in-safetensors", problem, ".pt")


def _not_in_safetensors(tensor: TensorInfo) -> str | None:
    """The reason why a safetensors file cannot store this tensor; None if it can."""
    if tensor.unsupported:
        return tensor.unsupported
    if tensor.dtype.name in ("?", "C128"):
        return f"its dtype is {tensor.dtype.name}"
    if tensor.name == METADATA:
        return "that name is reserved for metadata"
    if any("\ud800" <= char <= "\udfff" for char in tensor.name):
        return "its name is not valid Unicode"
    return None


class PtFromSafetensors(Derived):
    """The tensors of a safetensors file as a flat dict, as `torch.save` writes it."""

    format = "pt"

    def __init__(self, source: Source, root: str) -> None:
        super().__init__(source)
        self._root = _folder_named(root)
        for tensor in source.tensors:
            if reason := _not_in_pt(tensor):
                problem = f"tensor '{tensor.name}': a .pt file cannot store it: {reason}"
                raise _refusal("not-in-pt", problem, ".safetensors")
        if others := sorted(set(source.metadata) - {"format", PROVENANCE}):
            problem = f"a .pt file cannot store its metadata ('{others[0]}')"
            raise _refusal("not-in-pt", problem, ".safetensors")

    def segments(self, provenance: list[Any] | None) -> Iterator[Segment]:
        """The pickle, the members that torch requires, and a storage for each tensor."""
        storages = (
            (f"{self._root}/data/{number}", tensor.nbytes, self._payload(tensor))
            for number, tensor in enumerate(self.tensors)
        )
        yield from archive_of(self._root, _pickle(self.tensors), storages, provenance)

    def _payload(self, tensor: TensorInfo) -> Callable[[Checksum], Iterable[Segment]]:
        def payload(written: Checksum) -> Iterator[Segment]:
            if tensor.nbytes:
                yield self._source.segment(tensor, written)

        return payload


def _folder_named(stem: str) -> str:
    """The top folder of the archive: the file's stem, or torch's default if that is invalid."""
    try:
        stem.encode()
    except UnicodeEncodeError:
        return "archive"
    return "archive" if stem in (".", "..") else stem


def _not_in_pt(tensor: TensorInfo) -> str | None:
    """The reason why torch could not load this tensor from a .pt file; None if it could."""
    if not tensor.dtype.torch_name:
        return f"torch has no dtype {tensor.dtype.name}"
    if len(tensor.shape) > MAX_DIMENSIONS:
        return f"it has more than {MAX_DIMENSIONS} dimensions"
    if any(number >= 2**63 for number in (*tensor.shape, *row_major_strides(tensor.shape))):
        return "its sizes do not fit into 64 bits"  # possible without elements
    return None


def _pickle(tensors: Sequence[TensorInfo]) -> bytes:
    """A dict of tensors in pickle protocol 2; storages are named by numbers."""
    parts = [b"\x80\x02}("]
    for number, tensor in enumerate(tensors):
        parts += [pickled_text(tensor.name), _tensor(tensor, number)]
    return b"".join([*parts, b"u."])


def _tensor(tensor: TensorInfo, number: int) -> bytes:
    dtype_name, kind = tensor.dtype.torch_name, tensor.dtype.storage
    assert dtype_name
    if kind:
        rebuild, storage = b"_rebuild_tensor_v2", b"ctorch\n" + kind.encode() + b"\n"
        count, dtype = tensor.elements, b""
    else:
        rebuild, storage = b"_rebuild_tensor_v3", b"ctorch.storage\nUntypedStorage\n"
        count, dtype = tensor.nbytes, b"ctorch\n" + dtype_name.encode() + b"\n"
    where = (
        b"("
        + pickled_text("storage")
        + storage
        + pickled_text(str(number))
        + pickled_text("cpu")
        + pickled_int(count)
        + b"tQ"
    )
    hooks = b"ccollections\nOrderedDict\n)R"
    shape = b"(" + b"".join(map(pickled_int, tensor.shape)) + b"t"
    stride = b"(" + b"".join(map(pickled_int, row_major_strides(tensor.shape))) + b"t"
    call = b"ctorch._utils\n" + rebuild + b"\n"
    return call + b"(" + where + pickled_int(0) + shape + stride + b"\x89" + hooks + dtype + b"tR"
