"""Files that hold no tensors, under any name: the error names their kind and what to do."""

import gzip
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch.package.package_exporter import PackageExporter

from tests.conftest import Run, shell

NEITHER = "neither a .pt (zip) nor a safetensors file"


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def numpy_file(*, compressed: bool = False, one: bool = False) -> bytes:
    buffer = io.BytesIO()
    if one:
        np.save(buffer, np.ones(300))
    elif compressed:
        np.savez_compressed(buffer, a=np.ones(300))
    else:
        np.savez(buffer, a=np.ones(300), b=np.ones(3))
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def package() -> bytes:
    buffer = io.BytesIO()
    with PackageExporter(buffer) as exporter:
        exporter.save_pickle("data", "x.pkl", [1])
    return buffer.getvalue()


TENSORS = saved({"x": torch.ones(40)})
KINDS = {
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(60), "a PNG image", "header-too-large"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(60), "a JPEG image", "header-too-large"),
    "GIF": (b"GIF89a\1\0\1\0" + bytes(60), "a GIF image", "header-too-large"),
    "WebP": (b"RIFF\x40\0\0\0WEBP" + bytes(60), "a WebP image", "header-too-large"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file", "header-too-large"),
    "NetCDF": (b"CDF\1\0\0\0\0" + bytes(60), "a NetCDF file", "truncated-header"),
    "Parquet": (b"PAR1\x15\x04\x15\x10" + bytes(60), "a Parquet file", "header-too-large"),
    "gzip": (gzip.compress(TENSORS), "gzip data", "compressed"),
    "npy": (numpy_file(one=True), "a numpy array (.npy)", "unsupported-format"),
    "npz": (numpy_file(), "numpy arrays (.npz)", "numpy-archive"),
    "npz, compressed": (numpy_file(compressed=True), "numpy arrays (.npz)", "numpy-archive"),
    "package": (package(), "a torch.package archive", "torch-package"),
    "export": (
        zipped("e/archive_format", "e/models/model.json"),
        "a torch.export program",
        "torch-export",
    ),
    "zip": (zipped("a/b.txt"), "a zip archive without the data.pkl", "no-member"),
    "zip of two": (zipped("a.txt", "b.txt"), "a zip archive without the data.pkl", "no-root"),
    "text": ("naïve,text\n1,2\n".encode() * 50, "text", "header-too-large"),
    "a few letters": (b"hello", "text", "truncated-header"),
    "HTML": (b"<!DOCTYPE html>\n<html>", "an HTML page", "not-tensors"),
    "JSON": (json.dumps({"weight_map": {"x": "a"}}).encode(), "JSON", "not-tensors"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS", "git-lfs-pointer"),
    "pickle": (pickle.dumps([1], 4), "a pickle", "unsupported-format"),
}


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "x"])
@pytest.mark.parametrize("case", KINDS)
def test_the_kind_of_a_file_is_reported(run: Run, case: str, name: str) -> None:
    data, looks, code = KINDS[case]
    Path(name).write_bytes(data)
    result = run("info", name, "--json")
    assert result.code == 1
    (error,) = result.json["errors"]
    assert error["code"] == code
    assert error["message"].startswith(f"{NEITHER}; it looks like {looks}")
    assert error["hint"] is not None or case.startswith("zip")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_an_empty_file_is_called_empty(run: Run, name: str) -> None:
    Path(name).write_bytes(b"")
    assert f"{name}: the file is empty\n" in run("info", name).err


@pytest.mark.parametrize("data", [bytes(500), bytes(4) + TENSORS[4:], b"\xa5\5" * 300])
def test_a_file_of_unknown_kind_has_neither_format(run: Run, data: bytes) -> None:
    Path("x.pt").write_bytes(data)
    assert f"x.pt: {NEITHER}\nhint: " in run("info", "x.pt").err


@pytest.mark.parametrize("size", [len(TENSORS) // 2, len(TENSORS) - 1])
def test_a_damaged_pt_is_called_one(run: Run, size: int) -> None:
    Path("x.pt").write_bytes(TENSORS[:size])
    error = run("info", "x.pt").err
    assert "damaged .pt file" in error
    assert "safetensors" not in error


def test_a_header_whose_length_is_the_byte_of_a_brace_is_read(run: Run) -> None:
    data = save({"x": torch.ones(2)})
    header = data[8:-8].rstrip().ljust(ord("{"))
    Path("x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[-8:])
    assert Path("x.safetensors").read_bytes()[:1] == b"{"
    assert run("info", "x.safetensors").code == 0


def test_a_part_of_a_distributed_checkpoint_is_called_one(run: Run) -> None:
    Path("__0_0.distcp").write_bytes(saved(torch.ones(3)) + saved(torch.ones(4)))
    result = run("info", "__0_0.distcp", "--json")
    assert (result.code, result.errors) == (1, ["distributed-checkpoint"])
    assert "dcp_to_torch" in result.err


def packed(*options: str) -> None:
    """A checkpoint unpacked, and packed again by the `zip` command."""
    Path("m.pt").write_bytes(TENSORS)
    assert (
        shell(f"unzip -q m.pt -d u && cd u && zip -q {' '.join(options)} ../x.pt .").returncode == 0
    )


@pytest.mark.skipif(not shutil.which("zip"), reason="needs the zip command")
def test_a_checkpoint_packed_by_zip_is_read_without_its_folders(run: Run) -> None:
    packed("-0r")
    assert any(name.endswith("/") for name in zipfile.ZipFile("x.pt").namelist())
    assert run("apply", "x.pt", "-o", "y.pt", "--eval", "-q").code == 0
    assert torch.equal(torch.load("y.pt", weights_only=True, mmap=True)["x"], torch.ones(40))
    assert not any(name.endswith("/") for name in zipfile.ZipFile("y.pt").namelist())
    assert run("verify", "y.pt", "--source", "x.pt").code == 0


@pytest.mark.skipif(not shutil.which("zip"), reason="needs the zip command")
def test_a_compressed_checkpoint_gets_a_hint(run: Run) -> None:
    packed("-r")
    result = run("info", "x.pt", "--json")
    assert (result.code, result.errors) == (1, ["compressed-member"])
    assert "zip -0r" in result.err


def test_a_folder_entry_with_content_is_refused(run: Run) -> None:
    with zipfile.ZipFile("x.pt", "w") as archive:
        for name, data in {"x/data.pkl": b"N.", "x/version": b"3", "x/data/": b"hidden"}.items():
            archive.writestr(name, data)
    result = run("info", "x.pt", "--json")
    assert (result.code, result.errors) == (1, ["doubtful-archive"])
