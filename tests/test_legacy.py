"""Files from before torch 1.6: read without torch, written as zip files, the same everywhere."""

import collections
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file

import dropcli
from tests import oracle
from tests.builders import (
    dict2,
    dropped_pt,
    g,
    legacy,
    legacy_file,
    long_string2,
    names_in,
    numbered_legacy,
    saved,
    string2,
    tensor2,
)
from tests.conftest import Run, shell

pytestmark = pytest.mark.filterwarnings("ignore")  # about quantized tensors and protocols

ONES = {"0": (6, numpy.arange(6, dtype="<f4").tobytes())}


def loaded(path: str, **options: Any) -> Any:
    with warnings.catch_warnings(action="ignore"):  # about protocols and sources of modules
        return torch.load(path, **{"weights_only": False, **options})


def written(run: Run, data: bytes, *options: object) -> Any:
    """Apply, check the report and the archive, and return the loaded output."""
    Path("x.pt").write_bytes(data)
    result = run("apply", "x.pt", "-fqo", "y.pt", "--seed", 1, *options)
    assert (result.code, result.err) == (0, "")
    with zipfile.ZipFile("y.pt") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "archive/data.pkl"
    assert run("verify", "y.pt", "--source", "x.pt").code == 0
    return loaded("y.pt", mmap=True)


def parts_of(content: Any) -> dict[str, bytes]:
    """All parts of an object, as torch pickles them."""
    with zipfile.ZipFile(io.BytesIO(saved(content))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return {name: data for name, data in members.items() if "serialization_id" not in name}


def _model() -> torch.nn.Module:
    """A model with the key `module`, which is also a word in the ids of classes."""
    inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    return torch.nn.DataParallel(torch.nn.Sequential(inner, torch.nn.Linear(2, 2)))


def _training() -> dict[str, Any]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


def _various() -> dict[str, Any]:
    base = torch.arange(12.0)
    return {
        "tied": [base, base.t(), base],
        "strided": torch.randn(4, 6)[::2, 1::2],
        "odd": torch.ones(3, dtype=torch.uint8),  # the next storage is not aligned
        "half": torch.randn(5, 5).half(),
        "bf16": torch.randn(5, 5).bfloat16(),
        "complex": torch.randn(3, dtype=torch.complex64),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "numpy": numpy.arange(5.0),
        "others": (1, 2.5, None, "text", b"bytes", {3: True}, 10**30),
    }


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "make", [_model, _training, _various], ids=["model", "training", "various"]
)
def test_what_is_in_a_file_is_in_the_output(run: Run, make: Any, protocol: int) -> None:
    data = legacy(make(), pickle_protocol=protocol)
    after = written(run, data, "-p", 0)
    assert parts_of(after) == parts_of(loaded("x.pt"))


@pytest.mark.parametrize("zipped", [False, True])
def test_protocol_0_is_the_reason_in_the_message(run: Run, zipped: bool) -> None:
    options: dict[str, Any] = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": 0}
    torch.save(torch.ones(3), "x.pt", **options)
    with pytest.raises(AssertionError):  # torch cannot read the file either
        torch.load("x.pt", weights_only=False)
    result = run("apply", "x.pt", "-o", "y.pt")
    assert (result.code, "protocol 0" in result.err) == (1, True)
    assert not Path("y.pt").exists()


@pytest.mark.parametrize("make", [_training, _various], ids=["training", "various"])
def test_outputs_are_those_of_zip_files(run: Run, make: Any) -> None:
    content = make()
    after = written(run, legacy(content), "--all-floats")
    torch.save(content, "x.pt")
    assert run("apply", "x.pt", "-fqo", "z.pt", "--seed", 1, "--all-floats").code == 0
    assert parts_of(after) == parts_of(loaded("z.pt"))


def test_torch_loads_weights_only_what_it_did_before(run: Run) -> None:
    written(run, legacy(_training()))
    assert torch.load("x.pt", weights_only=True)["epoch"] == 3
    assert torch.load("y.pt", weights_only=True)["epoch"] == 3


def test_outputs_do_not_depend_on_the_run(run: Run) -> None:
    """Nor on torch: dropcli itself writes the members, their order and their headers."""
    written(run, numbered_legacy({"x": torch.ones(2), "y": torch.ones(3)}), "-p", 0)
    with zipfile.ZipFile("y.pt") as archive:
        names = ["data.pkl", "byteorder", "data/0", "data/1", "version", "dropcli.json"]
        assert archive.namelist() == [f"archive/{name}" for name in names]
        assert archive.read("archive/version") == b"3\n"


# Of Python 2.


def test_strings_of_python_2(run: Run) -> None:
    """Names of tensors, ids of storages, and long strings."""
    text = long_string2(b"long" * 100)
    pickled = dict2(
        (string2("weight"), tensor2("0", 6, 2, 3)),
        (string2("text"), text),
        (string2("\xe9t\xe9"), b"I01\n"),
    )
    data = legacy_file(b"\x80\x02" + pickled + b".", ONES)
    data = data.replace(b"X\1\0\0\0" + b"0", string2("0"))  # the keys too
    after = written(run, data)
    assert names_in(run) == ["weight"]
    x = torch.arange(6.0).reshape(2, 3)
    assert oracle.equal_bits(after["weight"], dropped_pt(x, "weight"))
    assert isinstance(after, collections.OrderedDict)
    assert (after["text"], after["\xe9t\xe9"]) == ("long" * 100, True)
    only = torch.load("y.pt", weights_only=True)
    assert [*only] == [*after] == [*loaded("x.pt")]


def test_numbers_of_python_2(run: Run) -> None:
    """Decimal numbers are keys in states of optimizers; torch's safe loader rejects them."""
    numbers = [1, -7, 10**12, 140052731584, 0]
    pairs = b"".join(b"I%d\n" % number + b"L%dL\n" % number for number in numbers)
    state = b"}(" + pairs + b"u"
    pickled = b"\x80\x02}(" + string2("state") + state + string2("x") + tensor2("0", 6, 6) + b"u."
    after = written(run, legacy_file(pickled, ONES))
    assert after["state"] == {number: number for number in numbers}
    assert torch.load("y.pt", weights_only=True)["state"] == after["state"]


def test_bytes_of_python_2_that_are_no_text(run: Run) -> None:
    """The user chooses an encoding when loading such a file, also after dropout."""
    raw = bytes(range(256))
    pickled = b"\x80\x02}(" + string2("raw") + long_string2(raw) + string2("\xe9") + b"N"
    pickled += string2("x") + tensor2("0", 6, 6) + b"u."
    Path("x.pt").write_bytes(legacy_file(pickled, ONES))
    assert run("apply", "x.pt", "-qo", "y.pt", "-p", 0).code == 0
    for path in ("x.pt", "y.pt"):
        after = loaded(path, encoding="latin1")
        assert after["raw"] == raw.decode("latin1")
        assert [*after] == ["raw", "\xc3\xa9", "x"]
        assert torch.equal(after["x"], torch.arange(6.0))


# Parts of storages.


def _part(key: str, offset: int, count: int) -> bytes:
    return b"(" + string2(key) + b"K%cK%ct" % (offset, count)


def test_views_of_storages(run: Run) -> None:
    """In the part from 1 to 5 of a storage, elements 2 and 3 are 3 and 4 of the storage."""
    parts = [
        tensor2("0", 6, 2, offset=2, part=_part("9", 1, 4)),
        tensor2("0", 6, 2, part=_part("9", 1, 4)),
        tensor2("0", 6, 1, part=_part("8", 0, 1)),
    ]
    data = legacy_file(b"\x80\x02(" + b"".join(parts) + b"t.", ONES)
    after = written(run, data, "-p", 0)
    assert [x.tolist() for x in after] == [[3, 4], [1, 2], [0]]
    assert [x.tolist() for x in loaded("x.pt")] == [[3, 4], [1, 2], [0]]
    assert torch.load("y.pt", weights_only=True)[0].tolist() == [3, 4]
    assert len({x.untyped_storage().data_ptr() for x in after}) == 1


class _Pickler(pickle.Pickler):
    """Writes storages as parts of one, with keys in the memo."""

    key = "a key"

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, torch.storage.TypedStorage):
            view = (self.key, 1, 4)
            return ("storage", torch.FloatStorage, "0", "cpu", 6, view)
        return None


@pytest.mark.parametrize("protocol", [2, 4])
def test_removed_memo_entries_are_written_again(run: Run, protocol: int) -> None:
    buffer = io.BytesIO()
    content = [torch.ones(4), _Pickler.key, torch.ones(4), {_Pickler.key: _Pickler.key}]
    _Pickler(buffer, protocol).dump(content)
    after = written(run, legacy_file(buffer.getvalue(), ONES), "-p", 0)
    assert [x.tolist() for x in after[::2][:2]] == [[1, 2, 3, 4]] * 2
    assert after[1:4:2] == ["a key", {"a key": "a key"}]


@pytest.mark.parametrize(
    ("pickled", "code"),
    [
        (tensor2("0", 6, 5, part=_part("9", 1, 4)), "outside-storage"),
        (tensor2("0", 6, 1, part=_part("9", 3, 4)), "damaged-pickle"),
        (
            b"(" + tensor2("0", 6, 1, part=_part("9", 1, 4))
            + tensor2("0", 6, 1, part=_part("9", 2, 4)) + b"t",
            "damaged-pickle",
        ),
        (b"](" + tensor2("0", 6, 1, part=_part("9", 1, 4)).partition(b"v2\n(")[2].partition(b"Q")[0]
         + b"QK\5e", "unreadable-legacy"),
        (b"](" + tensor2("0", 6, 1, part=_part("9", 1, 4)).partition(b"v2\n(")[2].partition(b"Q")[0]
         + b"QNe", "unreadable-legacy"),
        (tensor2("0", 6, 2, part=_part("9", 1, 4)).replace(b"QK\0", b"QJ\xff\xff\xff\xff"),
         "damaged-pickle"),
    ],
    ids=["beyond", "outside", "two", "loose", "no number", "before"],
)  # fmt: skip
def test_parts_that_cannot_be_written(run: Run, pickled: bytes, code: str) -> None:
    Path("x.pt").write_bytes(legacy_file(b"\x80\x02" + pickled + b".", ONES))
    assert run("apply", "x.pt", "-o", "y.pt", "--json").errors == [code]
    assert not Path("y.pt").exists()


# Other features that work as with zip files.


def test_info_says_that_a_file_is_legacy(run: Run) -> None:
    Path("x.pt").write_bytes(legacy({"x": torch.ones(4)}))
    (file,) = run("info", "x.pt", "--json").json["files"]
    assert (file["format"], file["bytes"]) == ("legacy-pt", Path("x.pt").stat().st_size)
    assert "legacy-pt" in run("info", "x.pt").out


def test_pipes_copies_conversions_and_replacement(run: Run) -> None:
    content = {"x": torch.randn(1000, 700), "n": torch.arange(7)}
    whole = written(run, legacy(content))
    done = shell("cat x.pt | dropcli apply - -qo - --seed 1 --stream x > z.pt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("z.pt").read_bytes() == Path("y.pt").read_bytes()

    assert run("apply", "x.pt", "-qo", "c.safetensors", "--seed", 1, "--stream", "x").code == 0
    assert oracle.equal_bits(load_file("c.safetensors")["x"], whole["x"])
    assert run("apply", "x.pt", "-qo", "k.safetensors", "--copies", 2, "--concat").code == 0
    assert load_file("k.safetensors")["x"].shape == (2000, 700)
    assert run("apply", "x.pt", "-qo", "out/", "--copies", 2, "--seed", 1).code == 0
    assert run("verify", "out/", "--source", "x.pt").code == 0
    assert run("apply", "x.pt", "-o", "new.pt", "--dry-run").code == 0
    assert not Path("new.pt").exists()

    assert run("apply", "x.pt", "-q", "--in-place", "--seed", 1).code == 0
    assert Path("x.pt").read_bytes() == Path("y.pt").read_bytes()
    again = run("apply", "x.pt", "--in-place", "--seed", 1, "--resume", "--json")
    assert again.json["files"][0]["status"] == "skipped"


def test_a_dataset_of_legacy_files_is_resumed(run: Run) -> None:
    Path("data").mkdir()
    for number in range(3):
        Path(f"data/{number}.pt").write_bytes(legacy({"x": torch.randn(8, 3)}))
    assert run("apply", "data", "-qo", "out", "--seed", 1).code == 0
    Path("out/1.pt").unlink()
    files = run("apply", "data", "-o", "out", "--seed", 1, "--resume", "--json").json["files"]
    assert sorted(file["status"] for file in files) == ["skipped", "skipped", "written"]
    assert run("verify", "out", "--source", "data").code == 0


def test_an_output_is_applied_to_again(run: Run) -> None:
    written(run, legacy({"x": torch.randn(50)}))
    dropcli.apply("y.pt", "z.pt", p=0.2, seed=2)
    (file,) = run("info", "z.pt", "--json").json["files"]
    assert [entry["settings"]["p"] for entry in file["provenance"]] == [0.5, 0.2]
    assert file["format"] == "pt"


def test_classes_of_other_packages_are_copied(run: Run) -> None:
    pickled = b"\x80\x02}(" + string2("x") + tensor2("0", 6, 6) + string2("o")
    pickled += g("mypackage.things", "Thing") + b")\x81}" + string2("a") + b"K\1sbu."
    Path("x.pt").write_bytes(legacy_file(pickled, ONES))
    result = run("apply", "x.pt", "-o", "y.pt", "-p", 0)
    assert result.code == 0
    assert "mypackage.things.Thing" in result.err


def test_data_after_the_storages_is_left_out_with_a_warning(run: Run) -> None:
    Path("x.pt").write_bytes(legacy({"x": torch.ones(6)}) * 2)
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.warnings) == (0, ["file-note", "file-note"])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("lead", range(4))
def test_pickles_larger_than_what_is_read_at_first(run: Run, lead: int, protocol: int) -> None:
    """The first part may end at any byte of an opcode."""
    content = {"x": torch.ones(3), "lead": "t" * lead, "numbers": [*range(300, 30_000)]}
    content |= {f"key {number}": f"text {number}" for number in range(1000)}
    after = written(run, numbered_legacy(content, protocol), "-p", 0)
    assert after.pop("x").tolist() == [1, 1, 1]
    del content["x"]
    assert after == content


def test_keys_of_storages_at_the_end_of_what_is_read_at_first(run: Run) -> None:
    def data(pad: int) -> bytes:
        return numbered_legacy({"pad": "p" * pad, "x": [torch.full((1,), n) for n in range(50)]})

    keys = data(0).rindex(b"\x80\x02]")
    for before in (1, 10, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109):
        after = written(run, data((1 << 16) - keys - before), "-k", "x.*", "-p", 0, "--no-rescale")
        assert torch.cat(after["x"]).tolist() == [*range(50)]


@pytest.mark.parametrize("size", [100, 70_000])
def test_an_opcode_that_leaves_its_frame(run: Run, size: int) -> None:
    """Implementations of pickle treat it differently."""
    text = b"X" + (size - 4).to_bytes(4, "little") + bytes(size - 4)
    pickled = b"\x80\x04\x95" + size.to_bytes(8, "little") + text + b"."
    Path("x.pt").write_bytes(legacy_file(pickled, {}) + bytes(200))
    assert run("info", "x.pt", "--json").errors == ["damaged-pickle"]
