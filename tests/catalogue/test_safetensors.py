"""Bad-input cases S01 to S45: safetensors files, good and hostile.

dropcli is never less strict than the safetensors library, which checks every file too.
"""

import gzip
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tests.builders import DATA, F32, entry, pack
from tests.conftest import Run, header_of, peak_megabytes
from tests.refusal import Refuse, assert_refused

# id -> bytes; both we and the library must refuse them.
REFUSED = {
    "S01 empty file": b"",
    "S02 seven bytes": b"\x40" + bytes(6),
    "S03 no header": pack(b""),
    "S04 header longer than the file": pack(entry(), DATA, length=10_000),
    "S05 header of 2**64-1 bytes": pack(entry(), DATA, length=2**64 - 1),
    "S05 header over the limit": pack(entry(), DATA, length=100_000_001),
    "S06 Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "S07 HTML": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "S07 text": b"hello, this is no tensor file\n",
    "S08 zip": b"PK\x03\x04" + bytes(100),
    "S10 gzip": gzip.compress(pack(entry(), DATA)),
    "S10 xz": lzma.compress(pack(entry(), DATA)),
    "S10 zstd": b"(\xb5/\xfd" + bytes(100),
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
    "S20 duplicate metadata": pack(b'{"__metadata__":{},"__metadata__":{}}'),
    "S21 metadata of objects": pack({"__metadata__": {"a": {}}, **entry()}, DATA),
    "S21 metadata of nulls": pack({"__metadata__": {"a": None}, **entry()}, DATA),
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
    "S26 exponent": pack(b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8e0]}}', DATA),
    "S26 three offsets": pack(entry(data_offsets=[0, 4, 8]), DATA),
    "S26 text": pack(entry(data_offsets=["0", "8"]), DATA),
    "S27 near 2**63": pack(entry(data_offsets=[0, 2**63 - 1]), DATA),
    "S27 near 2**64": pack(entry(data_offsets=[2**64 - 8, 2**64]), DATA),
    "S27 beyond": pack(entry(data_offsets=[0, 2**200]), DATA),
    "S28 shape overflow": pack(entry(shape=[2**40, 2**40]), DATA),
    "S28 shape beyond": pack(entry(shape=[2**70])),
    "S28 negative shape": pack(entry(shape=[-2, -1]), DATA),
    "S28 shape does not match": pack(entry(shape=[3]), DATA),
    "S31 complex128": pack(entry(dtype="C128", shape=[1], data_offsets=[0, 16]), bytes(16)),
    "S31 unknown dtype": pack(entry(dtype="F128"), DATA),
    "S31 lowercase dtype": pack(entry(dtype="f32"), DATA),
    "S33 half a byte": pack({"x": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"\0"),
    "S38 lone surrogate": pack(b'{"\\ud800":' + json.dumps(F32).encode() + b"}", DATA),
    "S45 index": b'{"metadata": {"total_size": 8}, "weight_map": {"x": "a.safetensors"}}',
    "entry without dtype": pack({"x": {"shape": [2], "data_offsets": [0, 8]}}, DATA),
    "entry is a list": pack({"x": [1, 2]}, DATA),
    "boolean shape": pack(entry(shape=[True, 2]), DATA),
    "NaN in the header": pack(b'{"x":NaN}', DATA),
}

# The beginning of a case -> the error's code, `invalid-header` for the others, and what it names.
CODES = {
    "S01": ("truncated-header", "empty"),
    "S02": ("truncated-header", "7"),
    "S04": ("truncated-header", "10,000 77"),
    "S05": ("header-too-large", ""),
    "S06": ("git-lfs-pointer", ""),
    "S07 HTML": ("not-tensors", "HTML"),
    "S07 text": ("header-too-large", ""),
    "S08": ("damaged-archive", ""),
    "S10 gzip": ("compressed", "gzip"),
    "S10 xz": ("compressed", "xz"),
    "S10 zstd": ("compressed", "zstd"),
    "S11": ("invalid-header", "UTF-8 10"),
    "S18": ("duplicate-name", "'x'"),
    "S19": ("duplicate-name", "'x'"),
    "S20": ("duplicate-name", ""),
    "S24": ("trailing-data", "77 81"),
    "S25": ("truncated-data", "77 74"),
    "S31": ("invalid-header", "F32"),
    "S45": ("not-tensors", "JSON"),
}

OTHERS = ("invalid-header", "")

# The library accepts these, but readers interpret them differently, so we refuse them.
REFUSED_BY_US = {
    "S18 duplicate name, same offsets": pack(
        b'{"x":%b,"x":%b}' % (json.dumps(F32).encode(), json.dumps(F32).encode()), DATA
    ),
    "S20 duplicate metadata key": pack(
        b'{"__metadata__":{"a":"1","a":"2"},"x":%b}' % json.dumps(F32).encode(), DATA
    ),
}

EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
ODD_NAMES = (
    *("", "\0", "a\nb", "\x1b[2J", "../../etc/x", "[/]", "[red]x[/red]", "\u202egnp.exe"),
    *("\x9b31m", "n" * (1 << 20)),
)

ACCEPTED = {
    "S13 leading space": pack(b"  \n" + json.dumps(entry()).encode(), DATA),
    "S13 trailing space": pack(json.dumps(entry()).encode() + b" \n\t ", DATA),
    "S21 metadata null": pack({"__metadata__": None, **entry()}, DATA),
    "S28 shape of 2**63 and 0": pack(entry(shape=[2**63, 0], data_offsets=[0, 0])),
    "S29 absurd but empty": pack(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0])),
    "S30 100 dimensions": pack(entry(shape=[1] * 99 + [2]), DATA),
    "S32 F6 is copied": pack(
        {"x": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"abc"
    ),
    "S35 unaligned": pack(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"x":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}',
        b"\1" + np.array([1.5, -2], "<f4").tobytes(),
    ),
    "S36 odd bools": pack(entry(dtype="BOOL", shape=[8]), bytes(range(8))),
    "S37 odd names": pack(dict.fromkeys(ODD_NAMES, EMPTY)),
    "S39 case and normal forms": pack(dict.fromkeys(("é", "e\u0301", "É"), EMPTY)),
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
def test_refused(refuse: Refuse, case: str) -> None:
    data = {**REFUSED, **REFUSED_BY_US}[case]
    code, named = next((c for start, c in CODES.items() if case.startswith(start)), OTHERS)
    commands = ("apply x.safetensors -o y.safetensors", "info x.safetensors")
    assert_refused(refuse, data, code, named, "x.safetensors", *commands)
    assert library_accepts("x.safetensors") is (case in REFUSED_BY_US)


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_BY_US])
def test_refused_in_order(refuse: Refuse, case: str) -> None:
    """On standard input, which is read in order even if it is a file."""
    Path("x").write_bytes({**REFUSED, **REFUSED_BY_US}[case])
    refusal = refuse("apply", "-", "-o", "y.safetensors", stdin="x")
    assert refusal.line.startswith("standard input: ")


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(run: Run, case: str) -> None:
    Path("x.safetensors").write_bytes(ACCEPTED[case])
    assert library_accepts("x.safetensors")
    # Some hold nothing that can be dropped, which is an error unless p is 0.
    p = 0 if any(case.startswith(name) for name in ("S32", "S36", "S40")) else 0.5
    result = run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1, "-p", p, "--json")
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


def test_s35_unaligned_data_is_dropped_rightly(run: Run) -> None:
    Path("x.safetensors").write_bytes(ACCEPTED["S35 unaligned"])
    run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 1, "--no-provenance")
    data = Path("y.safetensors").read_bytes()
    assert data[-9:] == b"\1" + np.array([0.0, -0.0], "<f4").tobytes()


def test_s08_s09_the_content_counts_not_the_suffix(run: Run) -> None:
    torch.save({"x": torch.rand(50)}, "a.pt")
    save_file({"x": torch.rand(50)}, "b.safetensors")
    for right, wrong in (("a.pt", "a.safetensors"), ("b.safetensors", "b.pt")):
        os.link(right, wrong)
        assert run("apply", right, "-o", "1.bin", "--seed", 1, "-q").code == 0
        assert run("apply", wrong, "-fo", "2.bin", "--seed", 1, "-q").code == 0
        assert Path("1.bin").read_bytes() == Path("2.bin").read_bytes()
        os.unlink("1.bin")


def hostile_header(kind: str) -> bytes:
    """A header of nearly 100 MB that is junk to its end."""
    if kind == "entries":
        return b"{" + b",".join(b'"%x":0' % number for number in range(9_000_000)) + b"}"
    if kind == "lists":
        return b'{"x":[' + b"[]," * 30_000_000 + b"0]}"
    return b"[" * 95_000_000


@pytest.mark.parametrize("kind", ["entries", "lists", "depth"])
def test_s17_a_header_of_junk_takes_little_time_and_memory(kind: str) -> None:
    Path("x.safetensors").write_bytes(pack(hostile_header(kind)))
    # The file itself is 100 MB, and text; a parser would want gigabytes.
    assert peak_megabytes("info", "x.safetensors", codes=(1,)) < 400


@pytest.mark.slow
def test_s17_a_million_tensors(run: Run) -> None:
    names = (b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(1_000_000))
    Path("x.safetensors").write_bytes(pack(b"{" + b",".join(names) + b"}"))
    assert peak_megabytes("info", "x.safetensors") < 2000


@pytest.mark.parametrize("shape", [[2**62, 0], [0, 2**62], [2**20, 2**20, 0]], ids=str)
@pytest.mark.parametrize(
    "options", ["--over 0", "--over 0,1", "--over 0 --exact", "-p 0:1 --p-per sample"]
)
def test_s29_empty_tensors_are_done_at_once(run: Run, shape: list[int], options: str) -> None:
    Path("x.safetensors").write_bytes(pack(entry(shape=shape, data_offsets=[0, 0])))
    result = run("apply", "x.safetensors", "-o", "y.safetensors", *options.split(), "--json")
    assert result.code == 0, result.err
    assert result.json["files"][0]["tensors"][0]["decisions"] == 0
    assert library_accepts("y.safetensors")


def test_s34_what_has_no_zero_is_refused(run: Run, refuse: Refuse) -> None:
    scale = {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [8, 12]}
    Path("x.safetensors").write_bytes(pack({"x": F32, "scale": scale}, DATA + b"\1\2\3\4"))
    refusal = refuse("apply", "x.safetensors", "-o", "z.safetensors", "-k", "scale")
    assert refusal.code == "dtype-without-zero"
    assert "'scale'" in refusal.line
    assert run("apply", "x.safetensors", "-o", "y.safetensors").code == 0
    assert Path("y.safetensors").read_bytes().endswith(b"\1\2\3\4")


def test_s37_odd_names_are_escaped_in_tables_and_exact_in_json(run: Run) -> None:
    Path("x.safetensors").write_bytes(ACCEPTED["S37 odd names"])
    names = set(header_of("x.safetensors"))
    for command in (("apply", "x.safetensors", "-fo", "y.safetensors"), ("info", "x.safetensors")):
        shown = run(*command, "-v")
        assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())
        assert r"\x1b[2J" in shown.out
        assert "[red]x[/red]" in shown.out
        listed = run(*command, "--json").json["files"][0]["tensors"]
        assert {tensor["name"] for tensor in listed} == names
    assert sorted(os.listdir()) == ["x.safetensors", "y.safetensors"]


def test_s42_special_values(run: Run) -> None:
    special = [float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.0]
    save_file({"x": torch.tensor(special), "z": torch.zeros(9)}, "x.safetensors")
    words = ("apply", "x.safetensors", "-fo", "y.safetensors", "--no-rescale", "--json", "-p")
    tensors = run(*words, 0).json["files"][0]["tensors"]
    assert (tensors[0]["after"]["nan"], tensors[0]["after"]["inf"]) == (1, 2)
    assert tensors[1]["after"]["zeros"] == 9
    kept = load_file("y.safetensors")["x"].numpy()
    assert kept.tobytes() == np.array(special, "<f4").tobytes()
    dropped = (run(*words, 1), load_file("y.safetensors")["x"])[1]
    assert dropped.isnan().tolist() == [True] * 3 + [False] * 3  # as NaN * 0 and inf * 0 are
    assert (dropped[3:] == 0).all()
