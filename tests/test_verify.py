"""`dropcli verify`: outputs are what their provenance says, or the first difference is shown."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.builders import sample
from tests.conftest import Run, header_of

OPTIONS = [
    (),
    ("-p", 0.1, "--seed", 3, "--fill", 2, "-k", "x"),
    ("--mode", "channel", "--exact", "--exclude", "y"),
    ("--over", "0,2:4", "--min-keep", 1, "--no-rescale"),
    ("-p", "0.2:0.6"),
    ("-p", "0.2:0.6", "--p-per", "sample", "-k", "x"),
    ("--alpha", "-k", "x"),
    ("--rng", "torch"),
    ("--eval",),
    ("--stream", "elsewhere/x"),
]


@pytest.mark.parametrize("output", ["y.safetensors", "y.pt"])
@pytest.mark.parametrize("source", ["x.safetensors", "x.pt"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_is_verified(
    run: Run, source: str, output: str, options: tuple[object, ...]
) -> None:
    tensors = {"x": torch.rand(6, 5, 8, 8), "y": torch.rand(6, 5, 8, 8), "n": torch.arange(6)}
    if source == "x.pt":
        torch.save(tensors, source)
    else:
        save_file(tensors, source)
    assert run("apply", source, "-o", output, *options).code == 0
    result = run("verify", output, "--source", source)
    assert (result.code, result.err.replace("warning", "")) == (0, "")
    assert result.out.startswith("✓ verified 1 file: ")
    Path(output).rename(f"renamed{Path(output).suffix}")
    assert run("verify", f"renamed{Path(output).suffix}", "--source", source).code == 0


def test_every_changed_byte_is_found(run: Run) -> None:
    sample("x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "--seed", 1)
    good = Path("y.safetensors").read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")
    begin, end = header_of("y.safetensors")["x"]["data_offsets"]
    for byte in range(start, len(good), 7):
        Path("y.safetensors").write_bytes(good[:byte] + bytes([good[byte] ^ 1]) + good[byte + 1 :])
        result = run("verify", "y.safetensors", "--source", "x.safetensors", "--json")
        (file,) = result.json["files"]
        assert (result.code, file["status"], result.json["status"]) == (4, "different", "error")
        assert file["difference"]["byte"] == byte
        inside = start + begin <= byte < start + end
        assert file["difference"]["tensor"] == ("x" if inside else "label")
    for damaged in (
        good[:-1],
        good + b"x",
        good[:start],
        b"",
    ):
        Path("y.safetensors").write_bytes(damaged)
        assert run("verify", "y.safetensors", "--source", "x.safetensors").code in (1, 4)
    Path("y.safetensors").write_bytes(good.replace(b'\\"p\\":0.5', b'\\"p\\":0.4'))
    assert run("verify", "y.safetensors", "--source", "x.safetensors").code == 4


def test_other_sources_are_detected(run: Run) -> None:
    sample("x.safetensors", 1)
    sample("z.safetensors", 2)
    run("apply", "x.safetensors", "-o", "y.safetensors")
    result = run("verify", "y.safetensors", "--source", "z.safetensors")
    assert (result.code, result.err) == (4, "")
    assert result.out.startswith("y.safetensors: different: byte ")
    assert "in tensor 'label'" in result.out


def test_whole_folders(run: Run) -> None:
    for number in range(8):
        sample(f"data/{number % 3}/{number}.{'pt' if number % 2 else 'safetensors'}", number)
    run("apply", "data", "-o", "out", "--copies", 11, "--keep-original", "--seed", 5)
    for jobs in (1, 2):
        result = run("verify", "out", "--source", "data", "-j", jobs)
        assert (result.code, "verified 96 files: " in result.out) == (0, True)
    shutil.rmtree("data/0")
    for path in Path("out/1").glob("1.03.pt"):
        data = bytearray(path.read_bytes())
        data[data.index(b"data.pkl") + 300] ^= 1
        path.write_bytes(data)
    result = run("verify", "out", "--source", "data", "--json")
    assert result.code == 4
    assert [f["output"] for f in result.json["files"] if f["status"] == "different"] == [
        "out/1/1.03.pt"
    ]
    assert {error["code"] for error in result.json["errors"]} == {"no-source", "no-provenance"}
    assert len(result.json["errors"]) == 36


def test_a_file_in_the_place_of_another_is_detected(run: Run) -> None:
    for number in range(2):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "out", "--copies", 2)
    shutil.copy("out/0.1.pt", "out/0.2.pt")
    shutil.copy("out/0.1.pt", "out/1.1.pt")
    result = run("verify", "out", "--source", "data", "--json")
    found = [file["output"] for file in result.json["files"] if file["status"] == "different"]
    assert (result.code, found) == (4, ["out/0.2.pt", "out/1.1.pt"])
    Path("empty").mkdir()
    assert run("verify", "empty", "--source", "data").code == 1


def test_two_applications_are_verified_against_every_earlier_state(run: Run) -> None:
    sample("x.pt")
    run("apply", "x.pt", "-o", "y.pt", "--seed", 1)
    run("apply", "y.pt", "-o", "z.pt", "--seed", 2, "-p", "0.1:0.2")
    run("apply", "z.pt", "-o", "a.safetensors", "--seed", 3, "--copies", 2, "--concat")
    for output, sources in {"z.pt": "yx", "a.safetensors": "zyx"}.items():
        for source in sources:
            result = run("verify", output, "--source", f"{source}.pt")
            assert (result.code, result.err) == (0, "")
    for other, difference in {
        "other/x.pt": "the first difference, in tensor",
        "other.pt": "members lie in 'x/', those of the source in 'other/'",
    }.items():
        sample(other, 1)
        result = run("verify", "z.pt", "--source", other)
        assert (result.code, difference in result.out) == (4, True)
    shown = run("info", "z.pt").out
    assert "p 0.5, seed 1, stream x" in shown
    assert "p 0.1 to 0.2 for each file, seed 2, stream y" in shown


def test_a_difference_of_headers_is_named(run: Run) -> None:
    save_file({"x": torch.rand(5, 3), "y": torch.rand(5)}, "x.safetensors")
    run("apply", "x.safetensors", "-o", "y.safetensors", "-k", "x")
    for tensors, difference in (
        ({"x": torch.rand(5, 4), "y": torch.rand(5)}, "tensor 'x' is F32 [5, 3], from the source"),
        ({"x": torch.rand(5, 3).half(), "y": torch.rand(5)}, "F16 [5, 3]"),
        ({"x": torch.rand(5, 3)}, "tensor 'y' is not in the source"),
        ({"x": torch.rand(5, 3), "y": torch.rand(5), "z": torch.rand(2)}, "'z' of the source is"),
    ):
        save_file(tensors, "z.safetensors")
        result = run("verify", "y.safetensors", "--source", "z.safetensors")
        assert (result.code, difference in result.out) == (4, True), result.out
    run("apply", "x.safetensors", "-o", "z.safetensors", "-k", "x", "--seed", 1, "-f")
    result = run("verify", "y.safetensors", "--source", "z.safetensors")
    assert (result.code, "recorded applications" in result.out) == (4, True), result.out


def test_a_difference_of_metadata_is_named(run: Run) -> None:
    save_file({"x": torch.ones(9)}, "x.safetensors", {"made by": "a test"})
    run("apply", "x.safetensors", "-o", "y.safetensors", "-q")
    ours = header_of("y.safetensors")["__metadata__"]
    for change in ({"made by": "another test, which is longer"}, {"extra": "more"}):
        save_file(load_file("y.safetensors"), "z.safetensors", {**ours, **change})
        found = run("verify", "z.safetensors", "--source", "x.safetensors", "--json")
        assert found.code == 4
        (name,) = change
        assert f"'{name}' in the metadata" in found.json["files"][0]["difference"]["message"]


def test_a_deleted_output_is_detected(run: Run) -> None:
    for number in range(4):
        sample(f"data/{number}.pt", number)
    run("apply", "data", "-o", "out", "--seed", 5)
    Path("out/2.pt").unlink()
    result = run("verify", "out", "--source", "data", "--json")
    found = [file["output"] for file in result.json["files"] if file["status"] == "different"]
    assert (result.code, found) == (4, ["out/2.pt"])
    assert "is missing" in run("verify", "out", "--source", "data").out
    assert run("verify", "out/1.pt", "--source", "data").code == 0


def test_concatenated_copies(run: Run) -> None:
    save_file({"x": torch.rand(5, 3), "n": torch.arange(5)}, "x.safetensors")
    for original in ((), ("--keep-original",)):
        words = ("--copies", 3, "--concat", *original, "--force")
        run("apply", "x.safetensors", "-o", "y.safetensors", *words)
        assert run("verify", "y.safetensors", "--source", "x.safetensors").code == 0


ENTRY: dict[str, object] = {"contract": "dropcli/1", "stream": "x", "copy": 0}
SETTINGS: dict[str, object] = {
    **{"p": 0.5, "seed": 1, "over": None, "rescale": True, "fill": None},
    **{"key": [], "exclude": [], "eval": False},
}
FOREIGN: list[object] = [
    1,
    {},
    {**ENTRY},
    {**ENTRY, "settings": None},
    {**ENTRY, "settings": {**SETTINGS, "p": 2}},
    {**ENTRY, "settings": {**SETTINGS, "p": "0.5"}},
    {**ENTRY, "settings": {**SETTINGS, "p": [0.5]}},
    {**ENTRY, "settings": {**SETTINGS, "new": 1}},
    {**ENTRY, "settings": {**SETTINGS, "over": "a"}},
    {**ENTRY, "settings": {**SETTINGS, "key": 3}},
    {**ENTRY, "settings": {**SETTINGS, "rng": "torch", "torch": "0.1"}},
    {**ENTRY, "settings": SETTINGS, "contract": "dropcli/2"},
    {**ENTRY, "settings": SETTINGS, "copy": "0"},
    {**ENTRY, "settings": SETTINGS, "stream": None},
    {**ENTRY, "settings": SETTINGS, "more": 1},
    {**ENTRY, "settings": SETTINGS, "stream": "\ud800"},
    {**ENTRY, "settings": {**SETTINGS, "key": [1]}},
    {**ENTRY, "settings": {**SETTINGS, "fill": 10**400}},
    {**ENTRY, "settings": {**SETTINGS, "p": [0, 10**400], "p_per": "file"}},
    {**ENTRY, "settings": {**SETTINGS, "over": "0", "min_keep": "a"}},
    {**ENTRY, "settings": {**SETTINGS, "over": "0", "exact": "y"}},
    {**ENTRY, "settings": {**SETTINGS, "rescale": "no"}},
    {**ENTRY, "settings": {**SETTINGS, "seed": 1.5}},
    {**ENTRY, "settings": SETTINGS, "concat": {"copies": 10**12, "original": True}},
]


@pytest.mark.parametrize("entry", FOREIGN, ids=str)
def test_foreign_provenance_is_an_error(run: Run, entry: object) -> None:
    x = sample("x.safetensors")
    save_file({"x": x}, "y.safetensors", {"dropcli": json.dumps([entry])})
    result = run("verify", "y.safetensors", "--source", "x.safetensors", "--json")
    code = "other-torch" if "'torch': '0.1'" in str(entry) else "foreign-provenance"
    assert (result.code, result.errors) == (1, [code])
    assert result.err.startswith("error: y.safetensors: ")


def test_what_cannot_be_verified(run: Run) -> None:
    sample("x.pt")
    run("apply", "x.pt", "-o", "y.pt", "--no-provenance")
    for words, exit_code, code, named in (
        (("y.pt", "--source", "x.pt"), 1, "no-provenance", "y.pt"),
        (("missing.pt", "--source", "x.pt"), 1, "os-error", "missing.pt"),
        (("y.pt", "--source", "missing.pt"), 2, "no-source", "missing.pt"),
        (("y.pt",), 2, "usage", "--source"),
    ):
        result = run("verify", *words, "--json")
        assert (result.code, result.errors) == (exit_code, [code]), result.err
        assert named in result.err


def test_a_stream_does_not_lead_out_of_the_folder(run: Run) -> None:
    sample("secret.pt")
    Path("data").mkdir()
    for stream in ("../secret", os.path.abspath("secret")):
        run("apply", "secret.pt", "-o", "y.pt", "--stream", stream, "--force")
        result = run("verify", "y.pt", "--source", "data", "--json")
        assert (result.code, result.errors) == (1, ["no-source"])


def test_outputs_and_sources_in_one_folder(run: Run) -> None:
    sample("data/1.pt", 1)
    run("apply", "data", "-o", "data/out", "--seed", 5)
    assert run("verify", "data/out", "--source", "data").code == 0
    result = run("verify", "data", "--source", "data/.", "--json")
    assert (result.code, result.json["errors"][0]["code"]) == (2, "same-folder")
    run("apply", "data", "-o", ".", "--seed", 5)
    result = run("verify", ".", "--source", "data")  # which is no output
    assert (result.code, "verified 2 files: " in result.out) == (0, True)


def test_a_folder_within_the_outputs_is_verified(run: Run) -> None:
    for name in ("a/1", "b/1", "1"):
        Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.rand(50)}, f"data/{name}.safetensors")
    assert run("apply", "data", "-o", "out", "--copies", 2, "-q").code == 0
    assert run("verify", "out/a", "--source", "data").code == 0
    # A file that belongs into another folder is still detected.
    Path("out/a/1.1.safetensors").write_bytes(Path("out/b/1.1.safetensors").read_bytes())
    assert run("verify", "out/a", "--source", "data").code == 4
