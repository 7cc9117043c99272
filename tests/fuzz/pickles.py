"""Mutations of the opcodes of pickles."""

import pickletools
import struct
from random import Random

from tests.fuzz import numbers

_GLOBALS = [
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_qtensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Double", "Half", "Int", "Bool", "QInt8")),
    *(("torch", name) for name in ("Size", "device", "float32", "strided", "Tensor", "save")),
    ("torch.storage", "UntypedStorage"),
    ("torch.nn.parameter", "Parameter"),
    ("collections", "OrderedDict"),
    ("collections", "Counter"),
    ("builtins", "set"),
    ("builtins", "bytearray"),
    ("builtins", "eval"),
    ("os", "system"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "scalar"),
    ("mypackage", "Thing"),
    ("pathlib", "os.system"),
    ("", ""),
]
_SIZES = {"BINUNICODE": "<I", "BINBYTES": "<I", "BINSTRING": "<I", "LONG4": "<I"}
_SIZES |= {"SHORT_BINBYTES": "<B", "SHORT_BINSTRING": "<B", "SHORT_BINUNICODE": "<B", "LONG1": "<B"}
_BARE = b"()]}Ntueasbd0122Qo.R\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98"


def split(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """The named opcodes of the first pickle with their arguments, and the bytes after it."""
    found = [(op.name, at or 0) for op, _, at in pickletools.genops(data)]
    ends = [at for _, at in found[1:]] + [found[-1][1] + 1]
    ops = [(name, data[at:end]) for (name, at), end in zip(found, ends, strict=True)]
    return ops, data[ends[-1] :]


def mutate(random: Random, data: bytes) -> bytes:
    """A pickle with a few mutated opcodes, and the bytes after it."""
    ops, rest = split(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice((_argument, _argument, _argument, _insert, _remove, _move))(random, ops)
    return b"".join(code for _, code in ops) + rest


def _argument(random: Random, ops: list[tuple[str, bytes]]) -> None:
    """Replace an argument, or its size."""
    places = [at for at, (_, code) in enumerate(ops) if len(code) > 1]
    if not places:
        return
    at = random.choice(places)
    name, code = ops[at]
    if name in _SIZES and random.random() < 0.3:
        form = _SIZES[name]
        head = 1 + struct.calcsize(form)
        size = numbers.integer(random, struct.unpack(form, code[1:head])[0])
        most = 256 ** struct.calcsize(form)
        ops[at] = name, code[:1] + struct.pack(form, size % most) + code[head:]
    elif name in ("BININT", "BININT1", "BININT2", "LONG1"):
        near = int.from_bytes(code[1 + (name == "LONG1") :], "little", signed=name == "BININT")
        ops[at] = _integer(numbers.integer(random, near))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        ops[at] = _global(random)
    elif name.startswith(("BINPUT", "BINGET", "LONG_BIN")):
        ops[at] = name, code[:1] + bytes([random.randrange(256)]) + code[2:]
    elif "UNICODE" in name:
        ops[at] = _text(random)
    else:
        flipped = random.randrange(1, len(code))
        changed = bytes([code[flipped] ^ (1 << random.randrange(8))])
        ops[at] = name, code[:flipped] + changed + code[flipped + 1 :]


def _insert(random: Random, ops: list[tuple[str, bytes]]) -> None:
    at = random.randrange(1, len(ops) + 1)
    kind = random.randrange(7)
    if kind < 3:
        more = [("", bytes([random.choice(_BARE)])) for _ in range(random.choice((1, 1, 2, 40)))]
    elif kind == 3:
        more = [_integer(numbers.integer(random))]
    elif kind == 4:
        more = [_global(random)]
    elif kind == 5:
        more = [_text(random)]
    else:
        more = [("", bytes([random.randrange(256)]) + random.randbytes(random.randrange(9)))]
    ops[at:at] = more


def _remove(random: Random, ops: list[tuple[str, bytes]]) -> None:
    at = random.randrange(len(ops))
    del ops[at : at + random.choice((1, 1, 2, 5))]
    if len(ops) < 3:
        ops += [("NONE", b"N")] * 3 + [("STOP", b".")]


def _move(random: Random, ops: list[tuple[str, bytes]]) -> None:
    """Copy or swap some opcodes."""
    at, to = random.randrange(len(ops)), random.randrange(len(ops))
    if random.random() < 0.5:
        ops[at], ops[to] = ops[to], ops[at]
    else:
        ops[to:to] = ops[at : at + random.choice((1, 3, 10))]


def _integer(value: int) -> tuple[str, bytes]:
    if -(2**31) <= value < 2**31:
        return "BININT", b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return "LONG1", b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def _global(random: Random) -> tuple[str, bytes]:
    module, name = random.choice(_GLOBALS)
    return "GLOBAL", f"c{module}\n{name}\n".encode()


def _text(random: Random) -> tuple[str, bytes]:
    data = numbers.text(random).encode()
    return "BINUNICODE", b"X" + struct.pack("<I", len(data)) + data
