"""safetensors headers, good and hostile: never less strict than the safetensors library."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tests.conftest import Run, header_of, shell

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def pack(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {**F32, **changes}}


DATA = bytes(8)
TWO = {"a": F32, "b": {**F32, "data_offsets": [8, 16]}}

# id -> bytes; both we and the library must refuse them.
REFUSED = {
    "S01 empty file": b"",
    "S02 seven bytes": b"1234567",
    "S03 no header": pack(b""),
    "S04 header longer than the file": pack(entry(), DATA, length=10_000),
    "S05 header of 2**64-1 bytes": pack(entry(), DATA, length=2**64 - 1),
    "S05 header over the limit": pack(entry(), DATA, length=100_000_001),
    "S06 Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "S07 HTML": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "S07 text": b"hello, this is no tensor file\n",
    "S08 zip": b"PK\x03\x04" + bytes(100),
    "S10 gzip": b"\x1f\x8b\x08" + bytes(100),
    "S11 not UTF-8": pack(b'{"\xff":1}'),
    "S12 byte order mark": pack(b"\xef\xbb\xbf" + json.dumps(entry()).encode(), DATA),
    "S14 trailing NUL": pack(json.dumps(entry()).encode() + b"\0\0", DATA),
    "S15 a list": pack(b"[]"),
    "S15 null": pack(b"null"),
    "S15 a string": pack(b'"x"'),
    "S16 nested 200 deep": pack(b'{"x":' + b"[" * 200 + b"]" * 200 + b"}"),
    "S16 nested 100,000 deep": pack(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "S19 duplicate name": pack(
        b'{"x":%b,"x":%b}'
        % (json.dumps(F32).encode(), json.dumps({**F32, "data_offsets": [8, 16]}).encode()),
        bytes(16),
    ),
    "S21 metadata of numbers": pack({"__metadata__": {"a": 1}, **entry()}, DATA),
    "S22 hole at front": pack(entry(data_offsets=[8, 16]), bytes(16)),
    "S22 hole in the middle": pack({"a": F32, "b": {**F32, "data_offsets": [16, 24]}}, bytes(24)),
    "S23 overlap": pack({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "S23 identical ranges": pack({"a": F32, "b": F32}, DATA),
    "S24 trailing bytes": pack(entry(), DATA + b"PK\x05\x06"),
    "S25 truncated data": pack(entry(), DATA[:5]),
    "S26 end before begin": pack(entry(data_offsets=[8, 0]), DATA),
    "S26 negative": pack(entry(data_offsets=[-8, 0]), DATA),
    "S26 float": pack(entry(data_offsets=[0, 8.0]), DATA),
    "S26 three offsets": pack(entry(data_offsets=[0, 4, 8]), DATA),
    "S26 text": pack(entry(data_offsets=["0", "8"]), DATA),
    "S27 near 2**63": pack(entry(data_offsets=[0, 2**63 - 1]), DATA),
    "S27 near 2**64": pack(entry(data_offsets=[2**64 - 8, 2**64]), DATA),
    "S27 beyond": pack(entry(data_offsets=[0, 2**200]), DATA),
    "S28 shape overflow": pack(entry(shape=[2**40, 2**40]), DATA),
    "S31 unknown dtype": pack(entry(dtype="F128"), DATA),
    "S31 lowercase dtype": pack(entry(dtype="f32"), DATA),
    "S33 half a byte": pack({"x": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"\0"),
    "S38 lone surrogate": pack(b'{"\\ud800":' + json.dumps(F32).encode() + b"}", DATA),
    "S45 index": b'{"metadata": {"total_size": 8}, "weight_map": {"x": "a.safetensors"}}',
    "shape does not match": pack(entry(shape=[3]), DATA),
    "entry without dtype": pack({"x": {"shape": [2], "data_offsets": [0, 8]}}, DATA),
    "entry is a list": pack({"x": [1, 2]}, DATA),
    "boolean shape": pack(entry(shape=[True, 2]), DATA),
    "NaN in the header": pack(b'{"x":NaN}', DATA),
}

# We refuse these too, though the library takes them: readers would differ in what they mean.
REFUSED_BY_US = {
    "S18 duplicate name, same offsets": pack(
        b'{"x":%b,"x":%b}' % (json.dumps(F32).encode(), json.dumps(F32).encode()), DATA
    ),
    "S20 duplicate metadata key": pack(
        b'{"__metadata__":{"a":"1","a":"2"},"x":%b}' % json.dumps(F32).encode(), DATA
    ),
}

ACCEPTED = {
    "S13 leading space": pack(b"  \n" + json.dumps(entry()).encode(), DATA),
    "S13 trailing space": pack(json.dumps(entry()).encode() + b" \n\t ", DATA),
    "S21 metadata null": pack({"__metadata__": None, **entry()}, DATA),
    "S29 absurd but empty": pack(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0])),
    "S30 100 dimensions": pack(entry(shape=[1] * 99 + [2]), DATA),
    "S31 F6 is copied": pack(
        {"x": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"abc"
    ),
    "S35 unaligned": pack(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"x":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}',
        b"\1" + np.array([1.5, -2], "<f4").tobytes(),
    ),
    "S36 odd bools": pack(entry(dtype="BOOL", shape=[8]), bytes(range(8))),
    "S37 odd names": pack(
        {
            name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for name in (
                "",
                "\0",
                "a\nb",
                "\x1b[2J",
                "../../etc/x",
                "[/]",
                "[red]x[/red]",
                "n" * 100_000,
            )
        }
    ),
    "S39 case and normal forms": pack(
        {
            name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for name in ("é", "e\u0301", "É")
        }
    ),
    "S40 no tensors": pack({}),
    "S41 only empty and scalar": pack(
        {
            "e": {**F32, "shape": [0], "data_offsets": [0, 0]},
            "s": {**F32, "shape": [], "data_offsets": [0, 4]},
        },
        bytes(4),
    ),
    "S44 unknown field": pack(entry(note={"deep": [1, 2.5, None]}), DATA),
}


def library_accepts(path: str) -> bool:
    try:
        with safe_open(path, framework="np"):
            return True
    except SafetensorError:
        return False


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_BY_US])
def test_refused(run: Run, case: str) -> None:
    data = {**REFUSED, **REFUSED_BY_US}[case]
    Path("x.safetensors").write_bytes(data)
    assert library_accepts("x.safetensors") is (case in REFUSED_BY_US)
    for command in (["apply", "x.safetensors", "-o", "y.safetensors"], ["info", "x.safetensors"]):
        result = run(*command)
        assert result.code == 1
        assert result.out == ""
        error, *hint = result.err.splitlines()
        assert error.startswith("error: x.safetensors: expected ")
        assert ", got " in error or "got" in error
        assert all(line.startswith("hint: ") for line in hint)
        assert len(hint) <= 1
    assert os.listdir() == ["x.safetensors"]


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_BY_US])
def test_refused_on_a_pipe(case: str) -> None:
    data = {**REFUSED, **REFUSED_BY_US}[case]
    done = shell("dropcli apply - -o y.safetensors", data)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard input: expected ")
    assert os.listdir() == []


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(run: Run, case: str) -> None:
    Path("x.safetensors").write_bytes(ACCEPTED[case])
    assert library_accepts("x.safetensors")
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "--json")
    assert result.code == 0, result.err
    assert library_accepts("y.safetensors")
    before, after = header_of("x.safetensors"), header_of("y.safetensors")
    after["__metadata__"].pop("dropcli")
    assert after.pop("__metadata__") == (before.pop("__metadata__", None) or {})
    assert list(before.items()) == list(after.items())
    names = [tensor["name"] for tensor in result.json["files"][0]["tensors"]]
    assert sorted(names) == sorted(before)
    assert run("info", "x.safetensors").code == 0

    result = run("apply", "x.safetensors", "-o", "z.safetensors", "--eval", "--no-provenance")
    assert Path("z.safetensors").read_bytes() == ACCEPTED[case]


def test_unaligned_data_is_dropped_rightly(run: Run) -> None:
    Path("x.safetensors").write_bytes(ACCEPTED["S35 unaligned"])
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 1, "--no-provenance")
    data = Path("y.safetensors").read_bytes()
    assert data[-9:] == b"\1" + np.array([0.0, -0.0], "<f4").tobytes()


@pytest.mark.parametrize("padding", [1, 8, 64, 4096])
def test_data_stays_as_aligned_as_it_was(run: Run, padding: int) -> None:
    header = json.dumps(entry()).encode()
    header += b" " * (-(8 + len(header)) % padding)
    Path("x.safetensors").write_bytes(pack(header, DATA))
    run("apply", "x.safetensors", "-o", "y.safetensors")
    length = int.from_bytes(Path("y.safetensors").read_bytes()[:8], "little")
    assert (8 + length) % max(padding, 8) == 0


def test_a_truncated_pipe_leaves_nothing() -> None:
    save_file({"x": torch.rand(1 << 20)}, "x.safetensors")
    done = shell("head -c 3000000 x.safetensors | dropcli apply - -o y.safetensors")
    assert done.returncode == 1
    assert b"standard input: expected" in done.stderr
    assert os.listdir() == ["x.safetensors"]
    done = shell("cat x.safetensors x.safetensors | dropcli apply - -o y.safetensors")
    assert done.returncode == 1
    assert b"expected the end after" in done.stderr
    assert os.listdir() == ["x.safetensors"]


def test_foreign_provenance_is_not_thrown_away(run: Run) -> None:
    save_file({"x": torch.ones(3)}, "x.safetensors", {"dropcli": "my own note"})
    result = run("apply", "x.safetensors", "-o", "y.safetensors")
    assert result.code == 1
    assert "--no-provenance" in result.err
    assert run("apply", "x.safetensors", "-o", "y.safetensors", "--no-provenance").code == 0
    assert header_of("y.safetensors")["__metadata__"] == {"dropcli": "my own note"}


def test_opaque_dtypes_are_copied_and_refused_by_name(run: Run) -> None:
    scale = {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [8, 12]}
    Path("x.safetensors").write_bytes(pack({"x": F32, "scale": scale}, DATA + b"\1\2\3\4"))
    assert run("apply", "x.safetensors", "-o", "y.safetensors").code == 0
    assert Path("y.safetensors").read_bytes().endswith(b"\1\2\3\4")
    result = run("apply", "x.safetensors", "-o", "z.safetensors", "-k", "scale")
    assert result.code == 1
    assert "tensor 'scale': expected a dtype that dropout can write, got F8_E8M0" in result.err


def test_info_shows_what_is_there(run: Run) -> None:
    save_file({"a.b": torch.ones(2, 3), "c": torch.tensor(1)}, "x.safetensors", {"k": "v"})
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0.25, "--seed", 9, "--over", "0")
    document = run("info", "--json", "y.safetensors").json
    (file,) = document["files"]
    assert document["status"] == "success"
    assert file["bytes"] == os.path.getsize("y.safetensors")
    assert file["metadata"]["k"] == "v"
    assert {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in file["tensors"]} == {
        "a.b": ("F32", [2, 3], 24),
        "c": ("I64", [], 8),
    }
    text = run("info", "y.safetensors").out
    assert "dropcli/1: p 0.25, seed 9, stream x, over 0\n" in text
    assert "k: v" in text


def test_info_of_several_files_goes_on(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "x.safetensors")
    Path("bad").write_bytes(b"?")
    result = run("info", "x.safetensors", "bad", "missing", "--json")
    assert result.code == 3
    assert result.json["status"] == "partial"
    assert [error["source"] for error in result.json["errors"]] == ["bad", "missing"]
    assert load_file("x.safetensors")["x"].sum() == 2
