"""Hostile, damaged and odd `.pt` files: refused in one line, in little time and memory."""

import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import oracle
from tests.builders import archive, tensor_pickle
from tests.conftest import Run, peak_megabytes


def g(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    parts = (b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + b"".join(parts) + b"\x93"


CALL = b"X\x01\x00\x00\x00a\x85R."

PROGRAMS = {
    "uuid function": b"\x80\x02" + g("uuid", "_get_command_stdout") + CALL,
    "torch import": b"\x80\x02" + g("torch._utils", "_import_dotted_name") + CALL,
    "dotted pathlib": stack_global("pathlib", "os.system") + CALL,
    "dotted collections": stack_global("collections", "_sys.modules") + CALL,
    "dotted torch": stack_global("torch", "os.system") + CALL,
    "dotted stranger": stack_global("mypackage", "os.system") + CALL,
    "storage loader": b"\x80\x02" + g("torch.storage", "_load_from_bytes") + CALL,
    "basichandlers": b"\x80\x02"
    + g("torch.utils.data.datapipes.utils.decoder", "basichandlers")
    + CALL,
    "torch.save": b"\x80\x02" + g("torch", "save") + CALL,
    "numpy.fromfile": b"\x80\x02" + g("numpy", "fromfile") + CALL,
    "module in torch.nn": b"\x80\x02" + g("torch.nn.modules.module", "os") + b".",
    "torch.jit.load": b"\x80\x02" + g("torch.jit", "load") + CALL,
    "cpp_extension": b"\x80\x02" + g("torch.utils.cpp_extension", "load") + CALL,
    "pip.main": b"\x80\x02" + g("pip", "main") + CALL,
    "subprocess.Popen": b"\x80\x02" + g("subprocess", "Popen") + CALL,
    "bound getattr": b"\x80\x02" + g("builtins", "getattr") + CALL,
    "lookalike": b"\x80\x02" + g("torch. _utils", "_rebuild_tensor_v2") + CALL,
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_p27_programs_are_not_passed_on(run: Run, case: str) -> None:
    Path("x.pt").write_bytes(archive(PROGRAMS[case]))
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["program-in-data"])
    assert not Path("y.pt").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("typing", "Any"),
        ("functools", "partial"),
        ("pathlib._local", "PosixPath"),
        ("re", "_compile"),
        ("random", "Random"),
        ("__builtin__", "type"),
        ("torch_geometric.data.data", "Data"),
        ("omegaconf.dictconfig", "DictConfig"),
        ("mypackage", "make_sample"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch.nn.functional", "relu"),
    ],
)
def test_what_people_keep_is_no_program(run: Run, module: str, name: str) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02" + g(module, name) + b")R."))
    result = run("apply", "x.pt", "-o", "y.pt", "--eval")
    assert result.code == 0, result.err
    strangers = ("mypackage", "omegaconf.dictconfig", "torch_geometric.data.data")
    assert (f"{module}.{name}" in result.err) == (module in strangers)


parameter = b"\x80\x02" + g("torch._utils", "_rebuild_parameter")
BOMBS = {
    "a parameter of itself": parameter + b"]q\x01Rq\x02h\x01h\x02a0.",
    "doubling key": b"\x80\x02}K\x01" + b"2\x86" * 40 + b"Ns.",
    "nested key": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "deep lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "many dicts": b"\x80\x02" + b"}" * 5_000_000 + b".",
    "many marks": b"\x80\x02" + b"(" * 5_000_000 + b".",
    "long key over many": b"\x80\x02}X\x00\x00\x10\x00" + b"k" * (1 << 20)
    + b"](" + b"K\x01" * 20_000 + b"es.",
    "huge integer key": b"\x80\x02}\x8b\xa0\x0f\x00\x00" + b"\x7f" * 4000 + b"Ns.",
    "5,000 dimensions": b"\x80\x02" + g("torch._utils", "_rebuild_tensor_v2")
    + b"((X\x07\x00\x00\x00storage" + g("torch", "FloatStorage")
    + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00("
    + b"J\xff\xff\xff\x7f" * 5000 + b"t(" + b"K\x01" * 5000 + b"t\x89"
    + g("collections", "OrderedDict") + b")RtR.",
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_p33_p34_bombs_take_little_time_and_memory(case: str) -> None:
    Path("x.pt").write_bytes(archive(BOMBS[case], **{"data/0": bytes(16)}))
    started = time.monotonic()
    # Of which 60 are the interpreter and its libraries.
    assert peak_megabytes("info", "x.pt", codes=(0, 1)) < 300
    assert time.monotonic() - started < 20


def test_names_never_collide(run: Run) -> None:
    content: dict[str, Any] = {
        "x.y": torch.ones(80),
        "x": {"y": torch.ones(90)},
        "x.y#2": torch.ones(64),
    }
    torch.save(content, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "--json")
    names = [tensor["name"] for tensor in result.json["files"][0]["tensors"]]
    assert names == ["x.y", "x.y#2", "x.y#2#2"]
    after = torch.load("y.pt", weights_only=True)
    assert all((x == 0).any() for x in (after["x.y"], after["x"]["y"], after["x.y#2"]))


def test_views_of_other_widths_are_refused(run: Run) -> None:
    u = torch.tensor([65537 * k for k in range(1, 9)]).to(torch.uint32)
    torch.save({"a": u, "b": u.view(torch.uint16)[1::2]}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt", "-k", "a", "--no-rescale", "--json")
    assert (result.code, result.errors) == (1, ["overlapping-tensors"])
    assert not Path("y.pt").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_special_tensors_are_made_of_is_not_changed(run: Run) -> None:
    v = torch.ones(6)
    torch.save({"v": v, "s": torch.sparse_coo_tensor(torch.arange(6)[None], v, (6,))}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt")
    assert result.code == 1
    assert "'v'" in result.err
    a = torch.randn(4)
    torch.save({"a": a, "b": a._neg_view()}, "x.pt")
    result = run("apply", "x.pt", "-o", "y.pt")
    assert result.code == 1
    assert "'a'" in result.err
    assert "'b'" in result.err


class Nested:
    def __init__(self) -> None:
        self.pair = (torch.ones(30), torch.ones(30))

    def __getstate__(self) -> Any:
        return (self.pair, 1)

    def __setstate__(self, state: Any) -> None:
        self.pair = state[0]


def test_tensors_in_odd_places_are_found(run: Run) -> None:
    x = torch.ones(30)
    x.extra = torch.ones(30)  # type: ignore[attr-defined]  # which is the point
    w = torch.nn.Parameter(torch.ones(30))
    w.extra = torch.ones(30)  # type: ignore[attr-defined]
    torch.save({"n": Nested(), "x": x, "w": w}, "x.pt")
    found = [t["name"] for t in run("info", "--json", "x.pt").json["files"][0]["tensors"]]
    assert sorted(found) == ["n.0.0", "n.0.1", "w", "w.extra", "x", "x.extra"]
    run("apply", "x.pt", "-o", "y.pt", "-q")
    after = torch.load("y.pt", weights_only=False)
    for tensor in (*after["n"].pair, after["x"], after["x"].extra, after["w"], after["w"].extra):
        assert (tensor == 0).any()


def test_a_transpose_is_the_same_memory(run: Run) -> None:
    t = torch.randn(20, 30)
    torch.save({"a": t, "b": t.t()}, "x.pt")
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "-q").code == 0
    after = torch.load("y.pt", weights_only=True)
    drop = oracle.dropped((20, 30), 0.5, oracle.key(1, "x", "a"))
    assert oracle.equal_bits(after["a"], oracle.dropout(t, drop, 0.5))
    assert torch.equal(after["a"].t(), after["b"])


def test_expanded_views_of_a_selected_tensor_are_refused(run: Run) -> None:
    a = torch.randn(4)
    torch.save({"a": a, "b": a[:1].expand(2**40)}, "x.pt")
    for options in ((), ("-k", "a")):
        result = run("apply", "x.pt", "-o", "y.pt", *options)
        assert result.code == 1
        assert result.err.startswith("error: x.pt: tensor ")


def test_p04_one_missing_checksum_is_no_excuse(run: Run) -> None:
    torch.save({"x": torch.randn(100)}, "x.pt")
    data = bytearray(Path("x.pt").read_bytes())
    entry = data.index(b"x/data/0", data.index(b"PK\1\2")) - 46
    data[entry + 16 : entry + 20] = bytes(4)
    Path("x.pt").write_bytes(data)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["wrong-checksum"])
    assert "x/data/0" in result.err


def test_a_member_cannot_hide_in_a_comment(run: Run) -> None:
    torch.save({"x": torch.randn(100)}, "x.pt")
    data = bytearray(Path("x.pt").read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 32] ^= 0x80  # the length of the first entry's comment
    Path("x.pt").write_bytes(data)
    assert run("apply", "x.pt", "-o", "y.pt", "--json").errors == ["damaged-archive"]


def test_the_alignment_of_the_archive_is_kept(run: Run) -> None:
    from torch.utils.serialization import config

    before = config.save.storage_alignment
    config.save.storage_alignment = 4096
    try:
        torch.save({"x": torch.randn(1000)}, "x.pt")
    finally:
        config.save.storage_alignment = before
    run("apply", "x.pt", "-o", "y.pt", "-q")
    data = Path("y.pt").read_bytes()
    at = zipfile.ZipFile("y.pt").getinfo("x/data/0").header_offset
    sizes = [int.from_bytes(data[at + i : at + i + 2], "little") for i in (26, 28)]
    assert (at + 30 + sum(sizes)) % 4096 == 0


def test_every_byte_flipped_never_ends_in_a_traceback(run: Run) -> None:
    torch.save({"x": torch.arange(3.0), "n": [1, "a"]}, "x.pt")
    good = Path("x.pt").read_bytes()
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


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_p35_legacy_files_of_other_protocols(run: Run, protocol: int) -> None:
    x = torch.randn(10)
    torch.save({"x": x}, "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "-q", "--eval")
    assert result.code == (1 if protocol == 4 else 0)  # what torch itself reads, if with a warning
    assert (result.code == 0) == Path("y.pt").exists() == (result.err == "")
    if protocol != 4:
        assert torch.equal(torch.load("y.pt", weights_only=True)["x"], x)


def test_legacy_programs_are_refused_before_torch_reads_them(run: Run) -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    system = data.index(b"\x80\x02}q\x00X\x01\x00\x00\x00x")
    for call in (
        b"\x80\x02cos\nsystem\n" + CALL,
        b"\x80\x02c__builtin__\nbytearray\nJ\0\0\0\x7f\x85R.",
    ):
        Path("x.pt").write_bytes(data[:system] + call + data[system:])
        result = run("apply", "x.pt", "-o", "y.pt", "--json")
        assert (result.code, result.errors) == (1, ["program-in-data"])


@pytest.mark.parametrize(
    ("signature", "offset", "value"),
    [
        (b"PK\1\2", 35, 1),  # a member on another disk
        (b"PK\6\6", 16, 1),  # a directory on another disk
        (b"PK\6\6", 28, 0x80),  # another number of members, here and in all
        (b"PK\6\6", 38, 1),
        (b"PK\6\7", 10, 0xFF),  # a directory elsewhere
    ],
)
def test_archives_that_readers_disagree_about(
    run: Run, signature: bytes, offset: int, value: int
) -> None:
    """What torch refuses, and the standard library reads."""
    torch.save({"x": torch.arange(6.0)}, "x.pt")
    data = bytearray(Path("x.pt").read_bytes())
    at = data.index(signature) + offset
    assert data[at] != value
    data[at] = value
    Path("x.pt").write_bytes(data)
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        torch.load("x.pt")
    assert_readers_disagree(run)


def test_a_pickle_that_is_a_folder(run: Run) -> None:
    """Torch reads nothing of it, and runs whatever is in memory."""
    torch.save({"x": torch.arange(6.0)}, "x.pt")
    data = bytearray(Path("x.pt").read_bytes())
    data[data.index(b"PK\1\2") + 38] = 0x10
    Path("x.pt").write_bytes(data)
    with zipfile.ZipFile("x.pt") as archive:
        assert archive.testzip() is None
    assert_readers_disagree(run)


def assert_readers_disagree(run: Run) -> None:
    for command in (("info", "x.pt"), ("apply", "x.pt", "-o", "y.pt")):
        result = run(*command, "--json")
        assert (result.code, result.errors) == (1, ["doubtful-archive"])
    assert not Path("y.pt").exists()


def test_an_old_file_without_its_storages(run: Run) -> None:
    """Torch makes them of whatever is in memory."""
    torch.save({"x": torch.ones(4)}, "x.pt", _use_new_zipfile_serialization=False)
    data = Path("x.pt").read_bytes()
    keys = data.rindex(b"\x80\x02]q\x00")
    Path("x.pt").write_bytes(data[:keys] + b"\x80\x02].")
    assert torch.load("x.pt")["x"].shape == (4,)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["no-storage"])
    assert not Path("y.pt").exists()


@pytest.mark.parametrize(
    "damage",
    [
        (b"RtR.", b"RNNtR."),  # arguments too many
        (b"I00\n", b"I5\n"),  # whether it requires a gradient
        (b"V0\nV", b"V1\nV"),  # a storage that is not there
        (b"FloatStorage\nV", b"QInt8Storage\nV"),  # of another size
        (b"tR.", b"t0I5\n)R."),  # a call of a number
    ],
    ids=str,
)
def test_tensors_that_torch_would_not_build(run: Run, damage: tuple[bytes, bytes]) -> None:
    pickled = tensor_pickle()
    assert damage[0] in pickled
    Path("x.pt").write_bytes(archive(pickled.replace(*damage), **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt")
    assert (result.code, Path("y.pt").exists()) == (1, False)


def test_an_old_file_with_a_class_in_it(run: Run) -> None:
    """Torch puts an object of its own in the place of a storage's class, which it cannot read."""
    torch.save([torch.ones(4), torch.FloatStorage], "x.pt", _use_new_zipfile_serialization=False)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.errors) == (1, ["unreadable-legacy"])
    assert not Path("y.pt").exists()
