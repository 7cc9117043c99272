"""Bad-input cases P01 to P52: `.pt` files, their archives and their pickles.

What only good files show (views, ties, dtypes) stands in tests/test_pt.py under its own id.
"""

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import oracle
from tests.builders import archive, stored, tensor_pickle
from tests.catalogue.refusal import Refuse, check_refusal, snapshot
from tests.conftest import Run, peak_megabytes, shell

MEMBERS = {
    "data.pkl": tensor_pickle(),
    "version": b"3",
    "byteorder": b"little",
    "data/0": bytes(16),
}


def in_root(members: dict[str, bytes], root: str = "x/", other: str = "x/other") -> bytes:
    """A plain archive of these members below one folder, and of another one."""
    return stored({root + name: data for name, data in members.items()} | {other: b""})


GOOD = in_root(MEMBERS)
END, END_64, LOCATOR = 22, 56, 20  # bytes


def changed(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


def flagged(flags: int, method: int = 0) -> bytes:
    """An archive whose members all claim these flags and this method, in both places."""
    claim = struct.pack("<HH", flags, method)
    local = changed(GOOD, b"PK\3\4\0\0" + bytes(4), b"PK\3\4\0\0" + claim)
    return changed(local, b"PK\1\2\0\0\0\0" + bytes(4), b"PK\1\2\0\0\0\0" + claim)


def zip64(told: int, root: bytes = GOOD) -> bytes:
    """An archive with the records of a large one, whose pointer leads `told` bytes off."""
    rest, start = root[:-END], root.index(b"PK\1\2")
    sizes = (len(MEMBERS) + 1, len(MEMBERS) + 1, len(rest) - start, start)
    end_64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", END_64 - 12, 45, 45, 0, 0, *sizes)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(rest) + told, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return rest + end_64 + locator + end


def directory_at(offset: int) -> bytes:
    return GOOD[:-6] + offset.to_bytes(4, "little") + GOOD[-2:]


def overlapping() -> bytes:
    """Two members in the directory, the second of which begins within the first."""
    crc, name = zlib.crc32(GOOD), b"x/data/9"
    about = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 6, crc, 9, 9, len(name), *[0] * 5, 1)
    body, directory = GOOD[: GOOD.index(b"PK\1\2")], GOOD[GOOD.index(b"PK\1\2") : -END]
    directory += about + name
    count = len(MEMBERS) + 2
    sizes = (count, count, len(directory), len(body))
    return body + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *sizes, 0)


def written(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """What the standard library writes, two members of one name too."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore")
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def pair(second: bytes) -> bytes:
    """Two tensors of one storage."""
    return archive(b"(" + tensor_pickle()[:-1] + second[:-1] + b"t.", **{"data/0": bytes(16)})


def tensor(**changes: Any) -> bytes:
    return archive(tensor_pickle(**changes), **{"data/0": bytes(16)})


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("pickle"))
    return buffer.getvalue()


def legacy(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


OLD = legacy({"x": torch.ones(6)})
ENCODE = b"\x80\x02c_codecs\nencode\nX\x01\0\0\0a"

# id -> a whole file, the error's code, and what the error must name
FILES: dict[str, tuple[bytes, str, str]] = {
    "P01 truncated": (GOOD[: len(GOOD) // 2], "damaged-archive", ""),
    "P01 without its end": (GOOD[:-END], "damaged-archive", ""),
    "P02 signature only": (b"PK\3\4", "damaged-archive", ""),
    "P03 flipped bit": (
        changed(GOOD, b"x/data/0" + bytes(16), b"x/data/0" + bytes(15) + b"\1", 1),
        "wrong-checksum", "x/data/0",
    ),
    "P05 deflated": (
        written(*((f"x/{n}", d) for n, d in MEMBERS.items()), method=zipfile.ZIP_DEFLATED),
        "compressed-member", "x/data.pkl",
    ),
    "P06 shorter than its numbers": (tensor(numel=5), "wrong-size", "20 16"),
    "P07 longer than its numbers": (tensor(numel=3), "wrong-size", "12 16"),
    "P08 two of one name": (
        written(*((f"x/{n}", d) for n, d in MEMBERS.items()), ("x/data.pkl", b"\x80\x02N.")),
        "doubtful-archive", "x/data.pkl",
    ),
    "P09 other name in the header": (
        changed(GOOD, b"x/data/0", b"x/data/1", 1), "doubtful-archive", "x/data/0"
    ),
    "P09 other size in the header": (
        changed(GOOD, b"\x10\0\0\0\x08\0", b"\x11\0\0\0\x08\0", 1), "doubtful-archive", "x/data/0"
    ),
    "P09 other stored size": (
        changed(GOOD, b"\x10\0\0\0\x10\0\0\0\x08\0", b"\x11\0\0\0\x10\0\0\0\x08\0", 1),
        "doubtful-archive", "x/data/0",
    ),
    "P09 other place": (
        changed(GOOD, GOOD[-END - 12 : -END - 8], b"\5\0\0\0"), "doubtful-archive", "x/other"
    ),
    "P10 encrypted": (flagged(1), "doubtful-archive", "x/data.pkl"),
    "P10 masked": (flagged(1 << 13), "doubtful-archive", "x/data.pkl"),
    "P10 method 99": (flagged(0, 99), "compressed-member", "x/data.pkl"),
    "P11 overlapping members": (overlapping(), "doubtful-archive", "x/data/9"),
    "P12 no folder": (in_root(MEMBERS, "", "other"), "no-root", ""),
    "P12 two folders": (in_root(MEMBERS, other="y/other"), "no-root", ""),
    "P12 parent": (in_root(MEMBERS, other="x/../../y"), "no-root", ""),
    "P12 absolute": (in_root(MEMBERS, "/x/", "/x/other"), "no-root", ""),
    "P12 backslashes": (in_root(MEMBERS, "x\\", "x\\other"), "no-root", ""),
    "P13 no version": (in_root({"data.pkl": tensor_pickle()}), "no-member", "version"),
    "P13 version 999": (in_root(MEMBERS | {"version": b"999"}), "newer-version", "999"),
    "P13 version x": (in_root(MEMBERS | {"version": b"x"}), "newer-version", ""),
    "P14 big": (in_root(MEMBERS | {"byteorder": b"big"}), "byte-order", ""),
    "P14 junk": (in_root(MEMBERS | {"byteorder": b"middle"}), "byte-order", ""),
    "P15 alignment 0": (in_root(MEMBERS | {".storage_alignment": b"0"}), "alignment", ""),
    "P15 alignment 3": (in_root(MEMBERS | {".storage_alignment": b"3"}), "alignment", ""),
    "P15 alignment 1e11": (
        in_root(MEMBERS | {".storage_alignment": b"1" + b"0" * 11}), "alignment", ""
    ),
    "P15 alignment x": (in_root(MEMBERS | {".storage_alignment": b"x"}), "alignment", ""),
    "P16 no storage": (tensor(key="7"), "no-member", "data/7"),
    "P16 no pickle": (in_root({"version": b"3"}), "no-member", "data.pkl"),
    "P18 prefix": (b"PK\3\4" + b"junk" * 9 + GOOD, "doubtful-archive", ""),
    "P20 pointer to itself": (zip64(END_64), "doubtful-archive", ""),
    "P20 pointer back": (zip64(-100), "doubtful-archive", ""),
    "P20 directory at 0": (directory_at(0), "doubtful-archive", ""),
    "P20 directory at the end": (directory_at(len(GOOD) - END), "doubtful-archive", ""),
    "P21 TorchScript": (torchscript(), "torchscript", ""),
    "P22 tar": (tar(), "unsupported-format", "tar"),
    "P22 before torch 0.1": (b"PYTORCH1" + bytes(100), "unsupported-format", "torch"),
    "P24 truncated": (OLD[:-10], "unreadable-legacy", ""),
    "P25 numel -1": (changed(OLD, b"K\x06", b"J\xff\xff\xff\xff", 1), "unreadable-legacy", ""),
    "P25 numel 2**62": (
        changed(OLD, b"K\x06", b"\x8a\x08" + bytes(7) + b"\x40", 1), "unreadable-legacy", ""
    ),
    "P26 gzip": (gzip.compress(GOOD), "compressed", "gzip"),
    "P30 other codec": (archive(ENCODE + b"X\x05\0\0\0rot13\x86R."), "program-in-data", ""),
    "P30 zip bomb codec": (archive(ENCODE + b"X\x03\0\0\0zip\x86R."), "program-in-data", ""),
    "P30 no codec": (archive(ENCODE + b"\x85R."), "program-in-data", ""),
    "P31 no stop": (archive(b"\x80\x02]"), "damaged-pickle", "3"),
    "P31 empty": (archive(b""), "damaged-pickle", "0"),
    "P31 underflow": (archive(b"\x80\x02R."), "damaged-pickle", "3"),
    "P31 memo": (archive(b"\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xfe."), "damaged-pickle", ""),
    "P31 mark": (archive(b"\x80\x02]e."), "damaged-pickle", "4"),
    "P31 opcode": (archive(b"\x80\x02\xff."), "damaged-pickle", "3"),
    "P31 length": (archive(b"\x80\x02B\xff\xff\xff\xffabc."), "damaged-pickle", ""),
    "P31 length of 8 bytes": (archive(b"\x80\x04\x8e" + b"\xff" * 8 + b"."), "damaged-pickle", ""),
    "P31 integer": (archive(b"\x80\x02\x8b\xff\xff\xff\x7f."), "damaged-pickle", ""),
    "P31 digits": (archive(b"I" + b"9" * 100_000 + b"\n."), "damaged-pickle", ""),
    "P31 build": (archive(b"\x80\x02]}b."), "damaged-pickle", ""),
    "P31 extension": (archive(b"\x80\x02\x82\x01."), "pickle-extension", ""),
    "P36 text": (archive(b"\x80\x02X\1\0\0\0aQ."), "damaged-pickle", ""),
    "P36 text on a line": (archive(b"Pstorage\n."), "damaged-pickle", ""),
    "P36 short": (archive(b"\x80\x02X\x07\0\0\0storage\x85Q."), "damaged-pickle", ""),
    "P36 no tensor's storage": (tensor(key="../x"), "no-member", "data/../x"),
    "P36 stranger's storage": (
        archive(
            changed(tensor_pickle(), b"\nctorch\nFloat", b"\ncpackage\nFloat"),
            **{"data/0": bytes(16)},
        ),
        "damaged-storage", "",
    ),
    "P37 two dtypes": (pair(tensor_pickle().replace(b"Float", b"Int")), "two-dtypes", ""),
    "P37 two numbers": (pair(tensor_pickle(numel=8)), "wrong-size", "32 16"),
    "P38 offset": (tensor(offset=1), "outside-storage", ""),
    "P38 size": (tensor(size=5), "outside-storage", ""),
    "P38 stride": (tensor(size=2, stride=4), "outside-storage", ""),
    "P38 negative size": (tensor(size=-1), "damaged-tensor", ""),
    "P38 negative stride": (tensor(stride=-1), "damaged-tensor", ""),
    "P38 negative offset": (tensor(offset=-1), "damaged-tensor", ""),
    "npz": (npz(), "no-root", ""),
    "bare pickle": (pickle.dumps({"a": 1}, 4), "unsupported-format", "pickle"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_refused(refuse: Refuse, case: str) -> None:
    data, code, named = FILES[case]
    Path("x.pt").write_bytes(data)
    refusal = refuse("apply", "x.pt", "-o", "y.pt")
    assert refusal.code == code
    assert refusal.line.startswith("x.pt: ")
    assert all(word in refusal.line for word in named.split())


def test_the_files_are_good_but_for_their_fault(run: Run) -> None:
    for data in (GOOD, zip64(0), tensor(), OLD, archive(ENCODE + b"X\x06\0\0\0latin1\x86R.")):
        Path("x.pt").write_bytes(data)
        assert run("apply", "x.pt", "-fo", "y.pt", "-q", "--eval").code == 0
        assert torch.load("y.pt", weights_only=False) is not None


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


PROGRAMS = {
    "P27 os.system": pickle.dumps(Evil(os.system, "touch harmed"), 2),
    "P27 posix.system": b"cposix\nsystem\n(S'touch harmed'\ntR.",
    "P27 eval": pickle.dumps(Evil(eval, "open('harmed', 'w')"), 2),
    "P27 exec": pickle.dumps(Evil(exec, "open('harmed', 'w')"), 4),
    "P27 getattr": pickle.dumps(Evil(getattr, "a", "b"), 2),
    "P27 runpy": b"\x80\x02crunpy\nrun_path\nX\x01\x00\x00\x00a\x85R.",
    "P27 inst": b"(S'touch harmed'\nios\nsystem\n.",
    "P27 obj": b"(cos\nsystem\nS'touch harmed'\no.",
    "P27 torch.hub": b"\x80\x02ctorch.hub\nload\nX\x01\x00\x00\x00a\x85R.",
    "P28 torch. _utils": b"ctorch. _utils\n_rebuild_tensor_v2\n)R.",
}
HOOK = """
import sys
armed = False
def audit(event, arguments):
    if armed and event in ("os.system", "os.exec", "subprocess.Popen", "os.posix_spawn"):
        sys.stderr.write("RAN " + event)
    if armed and event == "import" and arguments[0].split(".")[0] in ("runpy", "posix", "torch"):
        sys.stderr.write("RAN " + event)
sys.addaudithook(audit)
import dropcli.dataset.run  # with all that it imports by itself
from dropcli.cli import main
armed = True
sys.exit(main(["apply", "x.pt", "-o", "y.pt", "--json"]))
"""


@pytest.mark.parametrize("case", PROGRAMS)
def test_programs_are_refused_and_never_run(case: str) -> None:
    Path("x.pt").write_bytes(archive(PROGRAMS[case]))
    Path("hook.py").write_text(HOOK)
    before = snapshot()
    done = shell(f"ulimit -v 4000000; timeout 20 {sys.executable} hook.py")
    out, err = done.stdout.decode(), done.stderr.decode()
    assert check_refusal(before, 1, done.returncode, out, err).code == "program-in-data"


def test_p28_a_lookalike_is_a_stranger(run: Run) -> None:
    cyrillic = tensor_pickle().replace(b"torch._utils", "t\u043erch._utils".encode())
    Path("x.pt").write_bytes(archive(cyrillic, **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt", "--json", "--eval")
    assert result.json["files"][0]["tensors"] == []
    assert "t\u043erch._utils._rebuild_tensor_v2" in result.err


@pytest.mark.parametrize("size", [b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f"])
def test_p29_what_asks_for_memory_gets_none(size: bytes) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02cbuiltins\nbytearray\n" + size + b"\x85R."))
    assert peak_megabytes("apply", "x.pt", "-o", "y.pt", "--eval") < 100


def test_p17_storages_of_nobody_are_copied(run: Run) -> None:
    Path("x.pt").write_bytes(in_root(MEMBERS | {"data/1": b"nobody's"}))
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    assert zipfile.ZipFile("y.pt").read("x/data/1") == b"nobody's"


def test_p18_a_comment_of_64_kb_is_left_out_and_said(run: Run) -> None:
    Path("x.pt").write_bytes(GOOD[:-2] + b"\xff\xff" + b"c" * 0xFFFF)
    result = run("apply", "x.pt", "-o", "y.pt")
    assert (result.code, "65,535 bytes" in result.err) == (0, True)


def test_p19_more_members_than_an_old_archive_can_count(run: Run) -> None:
    many = {f"extra/{number}": b"" for number in range(0x10000)}
    with zipfile.ZipFile("x.pt", "w") as file:
        for name, data in (MEMBERS | many).items():
            file.writestr(zipfile.ZipInfo(f"x/{name}"), data)
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    assert len(zipfile.ZipFile("y.pt").namelist()) == len(MEMBERS) + len(many) + 1  # provenance


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 64])
def test_p19_a_record_and_a_file_beyond_4_gib(run: Run, more: int) -> None:
    torch.save({"x": torch.zeros(2**32 + more, dtype=torch.uint8), "y": torch.ones(99)}, "x.pt")
    assert peak_megabytes("apply", "x.pt", "-o", "y.pt", "--seed", "1", "-q") < 100
    assert zipfile.ZipFile("y.pt").testzip() is None
    after = torch.load("y.pt", weights_only=True, mmap=True)
    assert not after["x"][-5:].any()
    drop = oracle.dropped((99,), 0.5, oracle.key(1, "x", "y"))
    assert oracle.equal_bits(after["y"], oracle.dropout(torch.ones(99), drop, 0.5))


def test_p24_what_follows_a_legacy_file_is_left_out(run: Run) -> None:
    Path("x.pt").write_bytes(OLD + b"junk")
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    assert torch.load("y.pt", weights_only=True)["x"].shape == (6,)


def test_p33_a_list_of_itself(run: Run) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02]q\0h\0a."))
    assert run("apply", "x.pt", "-o", "y.pt", "-q", "--eval").code == 0
    loaded = torch.load("y.pt", weights_only=True)
    assert loaded[0] is loaded


def test_p34_pickles_beyond_the_cap_are_not_read(refuse: Refuse) -> None:
    with zipfile.ZipFile("x.pt", "w") as file:
        for name, data in MEMBERS.items():
            file.writestr(f"x/{name}", b"\x80\x02" + bytes(1 << 28) if name == "data.pkl" else data)
    refusal = refuse("apply", "x.pt", "-o", "y.pt")
    assert refusal.code == "member-too-large"
    assert "268,435,458" in refusal.line
    Path("x.pt").write_bytes(archive(b"\x80\x02" + b"K\x01" * 2_000_000 + b"."))
    assert peak_megabytes("apply", "x.pt", "-o", "y.pt", "--eval") < 300


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_p35_every_protocol(run: Run, protocol: int) -> None:
    x = torch.rand(30)
    torch.save({"x": x, "b": b"bytes"}, "x.pt", pickle_protocol=protocol)
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "-q").code == 0
    drop = oracle.dropped((30,), 0.5, oracle.key(1, "x", "x"))
    after = torch.load("y.pt", weights_only=False)
    assert oracle.equal_bits(after["x"], oracle.dropout(x, drop, 0.5))
    assert after["b"] == b"bytes"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["per tensor", "per channel", "nested", "jagged"])
def test_p44_p46_special_tensors_are_copied_and_refused_by_name(
    run: Run, refuse: Refuse, kind: str
) -> None:
    x = torch.rand(4, 3)
    special = {
        "per tensor": lambda: torch.quantize_per_tensor(x, 0.1, 3, torch.qint8),
        "per channel": lambda: torch.quantize_per_channel(
            x, torch.ones(4), torch.zeros(4), 0, torch.quint8
        ),
        "nested": lambda: torch.nested.nested_tensor([x, x[:2]]),
        "jagged": lambda: torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged),
    }[kind]()
    torch.save({"s": special, "x": torch.ones(50)}, "x.pt")
    refusal = refuse("apply", "x.pt", "-o", "y.pt", "-k", "s")
    assert (refusal.code, "'s'" in refusal.line) == ("special-tensor", True)
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    before, after = zipfile.ZipFile("x.pt"), zipfile.ZipFile("y.pt")
    differing = [name for name in before.namelist() if before.read(name) != after.read(name)]
    assert len(differing) == 1
    assert (torch.load("y.pt", weights_only=False)["x"] == 0).any()


def test_p48_scalars_and_counters(run: Run) -> None:
    content = {"scale": torch.tensor(2.5), "num_batches_tracked": torch.tensor(7)}
    torch.save(content, "x.pt")
    options = ("--json", "--all-floats")
    tensors = run("apply", "x.pt", "-o", "y.pt", *options).json["files"][0]["tensors"]
    assert {t["name"]: (t["action"], t["decisions"]) for t in tensors} == {
        "scale": ("dropped", 1),
        "num_batches_tracked": ("copied", 0),
    }
    assert torch.load("y.pt")["num_batches_tracked"] == 7


def test_p51_a_file_without_tensors_is_an_error_unless_nothing_is_to_drop(run: Run) -> None:
    torch.save({"lr": 0.1}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["nothing-selected"])
    assert not Path("y.pt").exists()
    assert run("apply", "x.pt", "-o", "y.pt", "--eval").code == 0
    assert torch.load("y.pt") == {"lr": 0.1}


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz),
    *(torch.float8_e5m2fnuz, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.bool),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_p52_every_dtype_is_copied_or_dropped(run: Run, dtype: torch.dtype) -> None:
    x = torch.arange(1, 41).to(dtype)
    torch.save({"x": x}, "x.pt")
    assert run("apply", "x.pt", "-o", "y.pt", "-q", "--eval").code == 0
    assert oracle.equal_bits(torch.load("y.pt", weights_only=True)["x"], x)
    options = ("-k", "x", "--no-rescale", "--seed", 1, "-p", 1)
    assert run("apply", "x.pt", "-o", "z.pt", "-q", *options).code == 0
    assert not torch.load("z.pt", weights_only=True)["x"].to(torch.complex128).any()
