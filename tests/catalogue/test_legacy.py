"""Bad-input cases P22 to P25, P35 and P49: files from before torch 1.6."""

import io
from pathlib import Path

import pytest
import torch

from tests import oracle
from tests.builders import changed, dropped_pt, legacy
from tests.conftest import Run
from tests.refusal import Refuse, assert_refused

OLD = legacy({"x": torch.ones(6)})

# id -> a whole file, the error's code, and what the error must name
FILES: dict[str, tuple[bytes, str, str]] = {
    "P22 before torch 0.1": (b"PYTORCH1" + bytes(100), "unsupported-format", "torch"),
    "P24 truncated": (OLD[:-10], "unreadable-legacy", ""),
    "P25 numel -1": (changed(OLD, b"K\x06", b"J\xff\xff\xff\xff", 1), "unreadable-legacy", ""),
    "P25 numel 2**62": (
        changed(OLD, b"K\x06", b"\x8a\x08" + bytes(7) + b"\x40", 1), "unreadable-legacy", ""
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


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_p35_legacy_files_of_other_protocols(run: Run, protocol: int) -> None:
    x = torch.randn(10)
    torch.save({"x": x}, "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "-q", "--eval")
    assert result.code == (1 if protocol == 4 else 0)  # what torch itself reads, if with a warning
    assert (result.code == 0) == Path("y.pt").exists() == (result.err == "")
    if protocol != 4:
        assert torch.equal(torch.load("y.pt", weights_only=True)["x"], x)


@pytest.mark.parametrize(
    "call",
    [b"cos\nsystem\nX\1\0\0\0a\x85R.", b"c__builtin__\nbytearray\nJ\0\0\0\x7f\x85R."],
    ids=["os.system", "bytearray"],
)
def test_legacy_programs_are_refused_before_torch_reads_them(refuse: Refuse, call: bytes) -> None:
    before, pickled, rest = OLD.partition(b"\x80\x02}q\x00X\x01\x00\x00\x00x")
    assert_refused(refuse, before + b"\x80\x02" + call + pickled + rest, "program-in-data", "")


def test_a_legacy_file_without_its_storages(refuse: Refuse) -> None:
    """Torch makes them of what happens to be in memory."""
    data = OLD[: OLD.rindex(b"\x80\x02]q\x00")] + b"\x80\x02]."
    assert torch.load(io.BytesIO(data))["x"].shape == (6,)
    assert_refused(refuse, data, "no-storage", "")


def test_a_legacy_file_with_a_class_in_it(refuse: Refuse) -> None:
    """Torch puts an object of its own in the place of a storage's class, which it cannot read."""
    data = legacy([torch.ones(4), torch.FloatStorage])
    assert_refused(refuse, data, "unreadable-legacy", "")


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
