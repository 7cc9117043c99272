"""Bad-input cases P01 to P26: the archives of `.pt` files."""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import oracle
from tests.builders import archive, changed, saved, stored, tensor, tensor_pickle
from tests.conftest import Run, peak_megabytes
from tests.refusal import Refuse, assert_refused

MEMBERS = {
    "data.pkl": tensor_pickle(),
    "version": b"3",
    "byteorder": b"little",
    "data/0": bytes(16),
}


def in_root(members: dict[str, bytes], root: str = "x/", other: str = "x/other") -> bytes:
    """A plain archive of these members in one folder, and of another member."""
    return stored({root + name: data for name, data in members.items()} | {other: b""})


GOOD = in_root(MEMBERS)
SAVED = saved({"x": torch.arange(6.0), "n": torch.arange(9)})

END, END_64, LOCATOR = 22, 56, 20  # bytes


def flagged(flags: int, method: int = 0) -> bytes:
    """An archive whose members all claim these flags and this method, in both places."""
    claim = struct.pack("<HH", flags, method)
    local = changed(GOOD, b"PK\3\4\0\0" + bytes(4), b"PK\3\4\0\0" + claim)
    return changed(local, b"PK\1\2\0\0\0\0" + bytes(4), b"PK\1\2\0\0\0\0" + claim)


def zip64(shift: int, root: bytes = GOOD) -> bytes:
    """An archive with zip64 records, whose pointer is wrong by `shift` bytes."""
    rest, start = root[:-END], root.index(b"PK\1\2")
    sizes = (len(MEMBERS) + 1, len(MEMBERS) + 1, len(rest) - start, start)
    end_64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", END_64 - 12, 45, 45, 0, 0, *sizes)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(rest) + shift, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return rest + end_64 + locator + end


def without_checksum(name: str) -> bytes:
    """The directory says 0 where the checksum of this member should be."""
    data = bytearray(SAVED)
    entry = data.index(name.encode(), data.index(b"PK\1\2")) - 46
    data[entry + 16 : entry + 20] = bytes(4)
    return bytes(data)


def commented() -> bytes:
    """An archive whose first entry has a comment that is so long that it covers the others."""
    data = bytearray(SAVED)
    data[data.index(b"PK\1\2") + 32] ^= 0x80
    return bytes(data)


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
    """An archive by the standard library, which can have two members with one name."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore")
        for name, data in members:
            file.writestr(name, data)
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


# id -> a whole file, the error's code, and what the error must name
FILES: dict[str, tuple[bytes, str, str]] = {
    "P01 truncated": (GOOD[: len(GOOD) // 2], "damaged-archive", ""),
    "P01 without its end": (GOOD[:-END], "damaged-archive", ""),
    "P02 signature only": (b"PK\3\4", "damaged-archive", ""),
    "P03 flipped bit": (
        changed(GOOD, b"x/data/0" + bytes(16), b"x/data/0" + bytes(15) + b"\1", 1),
        "wrong-checksum", "x/data/0",
    ),
    "P04 one without": (without_checksum("archive/data/0"), "wrong-checksum", "archive/data/0"),
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
    "P09 a member within a comment": (commented(), "damaged-archive", ""),
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
    "P22 tar": (tarfile.TarInfo("pickle").tobuf(), "unsupported-format", "tar"),
    "P26 gzip": (gzip.compress(GOOD), "compressed", "gzip"),
    "npz": (npz(), "numpy-archive", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_refused(refuse: Refuse, case: str) -> None:
    assert_refused(refuse, *FILES[case])


def test_the_files_are_good_but_for_their_fault(run: Run) -> None:
    for data in (GOOD, zip64(0), tensor()):
        Path("x.pt").write_bytes(data)
        assert run("apply", "x.pt", "-fo", "y.pt", "-q", "--eval").code == 0
        assert torch.load("y.pt", weights_only=False) is not None


@pytest.mark.parametrize("member", ["data/0", "data/1", "data.pkl", "version"])
def test_p03_checksums_are_verified(refuse: Refuse, member: str) -> None:
    data = bytearray(SAVED)
    content = zipfile.ZipFile(io.BytesIO(SAVED)).read(f"archive/{member}")
    data[data.index(content, data.index(f"archive/{member}".encode()))] ^= 1
    assert_refused(refuse, bytes(data), "wrong-checksum", f"archive/{member}")


@pytest.mark.parametrize(
    ("signature", "offset", "value"),
    [
        (b"PK\1\2", 35, 1),  # a member on another disk
        (b"PK\1\2", 38, 0x10),  # a pickle that is a folder: torch reads nothing of it
        (b"PK\6\6", 16, 1),  # a directory on another disk
        (b"PK\6\6", 28, 0x80),  # another number of members, here and in all
        (b"PK\6\6", 38, 1),
        (b"PK\6\7", 10, 0xFF),  # a directory elsewhere
    ],
)
def test_what_readers_disagree_about_is_refused(
    refuse: Refuse, signature: bytes, offset: int, value: int
) -> None:
    data = bytearray(SAVED)
    at = data.index(signature) + offset
    assert data[at] != value
    data[at] = value
    commands = ("info x.pt", "apply x.pt -o y.pt")
    assert_refused(refuse, bytes(data), "doubtful-archive", "", "x.pt", *commands)


def test_p04_files_without_checksums_are_taken(run: Run) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.randn(1000)}, "x.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.warnings) == (0, ["file-note"])
    assert "checksums" in result.err
    assert zipfile.ZipFile("y.pt").testzip() is None


def test_p17_unused_storages_are_copied(run: Run) -> None:
    Path("x.pt").write_bytes(in_root(MEMBERS | {"data/1": b"unused"}))
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    assert zipfile.ZipFile("y.pt").read("x/data/1") == b"unused"


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (tensor() + b"junk", "4"),
        (archive(tensor_pickle() + b"junk", **{"data/0": bytes(16)}), "4"),
        (GOOD[:-2] + b"\xff\xff" + b"c" * 0xFFFF, "65,535"),
    ],
    ids=["after the archive", "after the pickle", "a comment"],
)
def test_p18_p32_bytes_that_follow_are_noted(run: Run, data: bytes, count: str) -> None:
    Path("x.pt").write_bytes(data)
    result = run("apply", "x.pt", "-o", "y.pt", "--json", "--all-floats")
    assert (result.code, result.warnings) == (0, ["file-note"])
    assert f" {count} bytes " in result.err
    assert zipfile.ZipFile("y.pt").testzip() is None


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


def test_every_byte_flipped_never_ends_in_a_traceback(run: Run) -> None:
    good = saved({"x": torch.arange(3.0), "n": [1, "a"]})
    content = good.index(b"Z" * 8)  # padding begins; what comes after the header is sampled
    for at in [*range(0, content, 3), *range(content, len(good), 11)]:
        bad = bytearray(good)
        bad[at] ^= 0x41
        Path("bad.pt").write_bytes(bad)
        result = run("apply", "bad.pt", "-fo", "y.pt", "-q")
        assert result.code in (0, 1), at
        if result.code == 0:
            assert torch.load("y.pt", weights_only=True)["x"].shape == (3,)
            Path("y.pt").unlink()
        assert not Path("y.pt").exists()
