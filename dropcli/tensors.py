"""What a tensor in a file is: its name, shape and element type, and where its bytes lie."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:  # names and sizes alone do without
    import numpy as np
    from numpy.typing import NDArray

    from dropcli.layouts import Layout

Kind: TypeAlias = Literal["float", "float8", "complex", "integer", "bool", "opaque"]


@dataclass(frozen=True)
class Dtype:
    """An element type under its safetensors name; `opaque` ones can only be copied.

    torch calls it `torch_name`, if it has it; `storage` is the class of such storages, where the
    type of a tensor's elements is that of its storage.
    """

    name: str
    bits: int
    kind: Kind
    numpy_name: str
    torch_name: str | None = None
    storage: str | None = None

    @cached_property
    def numpy(self) -> "np.dtype[Any]":
        """The little-endian numpy type. bfloat16 and float8 come from ml_dtypes, loaded late."""
        import numpy as np

        if self.kind == "float8" or self.name == "BF16":
            import ml_dtypes

            scalar: type[Any] = getattr(ml_dtypes, self.numpy_name)
            return np.dtype(scalar)
        return np.dtype(self.numpy_name)


DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype("F64", 64, "float", "<f8", "float64", "DoubleStorage"),
        Dtype("F32", 32, "float", "<f4", "float32", "FloatStorage"),
        Dtype("F16", 16, "float", "<f2", "float16", "HalfStorage"),
        Dtype("BF16", 16, "float", "bfloat16", "bfloat16", "BFloat16Storage"),
        Dtype("C64", 64, "complex", "<c8", "complex64", "ComplexFloatStorage"),
        Dtype("C128", 128, "complex", "<c16", "complex128", "ComplexDoubleStorage"),
        Dtype("F8_E4M3", 8, "float8", "float8_e4m3fn", "float8_e4m3fn"),
        Dtype("F8_E5M2", 8, "float8", "float8_e5m2", "float8_e5m2"),
        Dtype("F8_E4M3FNUZ", 8, "float8", "float8_e4m3fnuz", "float8_e4m3fnuz"),
        Dtype("F8_E5M2FNUZ", 8, "float8", "float8_e5m2fnuz", "float8_e5m2fnuz"),
        Dtype("I64", 64, "integer", "<i8", "int64", "LongStorage"),
        Dtype("I32", 32, "integer", "<i4", "int32", "IntStorage"),
        Dtype("I16", 16, "integer", "<i2", "int16", "ShortStorage"),
        Dtype("I8", 8, "integer", "i1", "int8", "CharStorage"),
        Dtype("U64", 64, "integer", "<u8", "uint64"),
        Dtype("U32", 32, "integer", "<u4", "uint32"),
        Dtype("U16", 16, "integer", "<u2", "uint16"),
        Dtype("U8", 8, "integer", "u1", "uint8", "ByteStorage"),
        Dtype("BOOL", 8, "bool", "u1", "bool", "BoolStorage"),
        # No zero, or less than a byte: there is nothing dropout could write.
        Dtype("F8_E8M0", 8, "opaque", "", "float8_e8m0fnu"),
        Dtype("F6_E2M3", 6, "opaque", ""),
        Dtype("F6_E3M2", 6, "opaque", ""),
        Dtype("F4", 4, "opaque", ""),
    )
}
BY_TORCH_NAME = {dtype.torch_name: dtype for dtype in DTYPES.values() if dtype.torch_name}
BY_STORAGE = {dtype.storage: dtype for dtype in DTYPES.values() if dtype.storage}


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people read it: 2x3x4."""
    return "x".join(map(str, shape)) if shape else "scalar"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file describes it; `offset` and `nbytes` are bytes in the source.

    layout: how the elements lie in those bytes, None for row-major without gaps;
    unsupported: why it can only be copied, for sparse and other special tensors;
    tied_to: the name of an earlier tensor that is the same memory, dropped together with it.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    layout: "Layout | None" = None
    unsupported: str | None = None
    tied_to: str | None = None

    def tied(self, name: str) -> "TensorInfo":
        """This tensor, known to be the same memory as that one."""
        return replace(self, tied_to=name)

    @cached_property
    def elements_layout(self) -> "Layout":
        """How the elements lie, row-major ones too."""
        from dropcli.layouts import Layout

        return self.layout or Layout.row_major(self.shape)

    def places_within(self, start: int, stop: int) -> "NDArray[np.int64]":
        """Where elements begin among these bytes of the source, in bytes from `start`."""
        layout = self.elements_layout
        itemsize = self.dtype.bits // 8
        first = layout.rank(-(-(start - self.offset) // itemsize))
        last = layout.rank(-(-(stop - self.offset) // itemsize))
        places, _ = layout.locate(first, last)
        return places * itemsize + (self.offset - start)

    @cached_property
    def elements(self) -> int:
        """The number of elements: 1 for a 0-d tensor."""
        return prod(self.shape)
