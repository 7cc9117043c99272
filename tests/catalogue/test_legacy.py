"""Bad-input cases P22 to P25, P35 and P49: files from before torch 1.6."""

import io
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

from tests import oracle
from tests.builders import changed, dropped_pt, legacy, legacy_file, tensor2
from tests.conftest import Run
from tests.refusal import Refuse, assert_refused

OLD = legacy({"x": torch.ones(6)})

# id -> a whole file, the error's code, and what the error must name
FILES: dict[str, tuple[bytes, str, str]] = {
    "P22 tar before torch 0.1.10": (
        tarfile.TarInfo("sys_info").tobuf() + bytes(10_240), "unsupported-format", "0.1.10"
    ),
    "P22 before torch 0.1": (b"PYTORCH1" + bytes(100), "unsupported-format", "torch"),
    "P24 truncated": (OLD[:-10], "truncated-data", ""),
    "P24 truncated pickle": (OLD[:300], "truncated-data", "300"),
    "P24 damaged pickle": (changed(OLD, b"q\x00X\1\0\0\0x", b"\xff" * 8), "damaged-pickle", ""),
    "P25 numel -1": (changed(OLD, b"K\x06", b"J\xff\xff\xff\xff", 1), "damaged-legacy", ""),
    "P25 numel 2**62": (
        changed(OLD, b"K\x06", b"\x8a\x08" + bytes(7) + b"\x40", 1), "wrong-size", ""
    ),
    "P25 numel 2**62 twice": (
        legacy_file(
            tensor2("0", 6, 6).replace(b"K\x06", b"\x8a\x08" + bytes(7) + b"\x40", 1) + b".",
            {"0": (1 << 62, bytes(24))},
        ),
        "truncated-data",
        "",
    ),
    "a length of 4 GB": (
        legacy_file(b"X\xff\xff\xff\xff" + bytes(1 << 17), {}), "truncated-data", ""
    ),
    "no end of a name": (OLD[:240] + b"c" + bytes(1 << 21), "damaged-pickle", ""),
    "big-endian": (legacy_file(b"N.", {}, little=False), "byte-order", ""),
    "another version": (changed(OLD, b"M\xe9\x03.", b"M\xea\x03.", 1), "newer-version", "1002"),
    "a storage of no tensor": (legacy_file(b"N.", {"0": (0, b"")}), "damaged-legacy", ""),
    "a key that is a path": (
        legacy_file(tensor2("../x", 1, 1) + b".", {"../x": (1, bytes(4))}), "damaged-legacy", ""
    ),
    "one key twice": (
        changed(legacy_file(tensor2("a", 1, 1) + b".", {"a": (1, bytes(4)), "b": (1, bytes(4))}),
                b"X\1\0\0\0b", b"X\1\0\0\0a"), "damaged-legacy", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_refused(refuse: Refuse, case: str) -> None:
    assert_refused(refuse, *FILES[case])


def test_p23_legacy_files_leave_as_zip_files(run: Run) -> None:
    content = {"x": torch.randn(100), "n": torch.arange(5)}
    torch.save(content, "x.pt", _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    assert (result.code, result.warnings) == (0, ["file-note"])
    after = torch.load("y.pt", weights_only=True, mmap=True)
    assert oracle.equal_bits(after["x"], dropped_pt(content["x"], "x"))
    assert torch.equal(after["n"], content["n"])
    assert "torch 1.6" in result.err


def test_p24_what_follows_a_legacy_file_is_left_out(run: Run) -> None:
    Path("x.pt").write_bytes(OLD + b"junk")
    assert run("apply", "x.pt", "-o", "y.pt", "-q").code == 0
    assert torch.load("y.pt", weights_only=True)["x"].shape == (6,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_p35_legacy_files_of_other_protocols(run: Run, protocol: int) -> None:
    x = torch.randn(10)
    torch.save({"x": x}, "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "-q", "--eval")
    assert (result.code, result.err) == (0, "")
    assert torch.equal(torch.load("y.pt", weights_only=False, mmap=True)["x"], x)


@pytest.mark.parametrize("place", range(5))
def test_programs_in_legacy_files(refuse: Refuse, place: int) -> None:
    """In the place of each of the five pickles."""
    parts: tuple[object, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, [1], [])
    pickles = [pickle.dumps(part, 2) for part in parts]
    rest = pickles[place].removeprefix(b"\x80\x02")
    pickles[place] = b"\x80\x02cos\nfork\n)R0" + rest
    assert_refused(refuse, b"".join(pickles), "program-in-data", "")


def test_a_legacy_file_without_its_storages(refuse: Refuse) -> None:
    """Torch makes them from whatever is in memory."""
    data = OLD[: OLD.rindex(b"\x80\x02]q\x00")] + b"\x80\x02]."
    assert torch.load(io.BytesIO(data))["x"].shape == (6,)
    assert_refused(refuse, data, "no-storage", "")


def test_a_legacy_file_with_a_class_in_it(run: Run) -> None:
    Path("x.pt").write_bytes(legacy([torch.ones(4), torch.FloatStorage]))
    assert run("apply", "x.pt", "-qo", "y.pt", "-p", 0).code == 0
    tensor, cls = torch.load("y.pt", weights_only=True)
    assert torch.equal(tensor, torch.ones(4))
    assert cls.dtype == torch.float32


def test_a_legacy_bytearray_takes_no_memory(run: Run) -> None:
    """The pickle calls nothing; with torch, it allocated the bytearray."""
    Path("x.pt").write_bytes(legacy_file(b"c__builtin__\nbytearray\nJ\0\0\0\x7f\x85R.", {}))
    assert run("info", "x.pt").code == 0


def test_p49_legacy_files_saved_on_a_gpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(100)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"x": x}, "x.pt", _use_new_zipfile_serialization=False)
        torch.save({"x": x}, "z.pt")
    assert b"cuda:0" in Path("x.pt").read_bytes()
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "-q").code == 0
    assert oracle.equal_bits(torch.load("y.pt", weights_only=True)["x"], dropped_pt(x, "x"))
    run("apply", "z.pt", "-fo", "y.pt", "--seed", 1, "--stream", "x", "-q")
    after = torch.load("y.pt", map_location="cpu")
    assert oracle.equal_bits(after["x"], dropped_pt(x, "x"))
