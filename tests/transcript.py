"""The most frequent errors and warnings, in `tests/transcript.txt`.

    python -m tests.transcript

runs its commands and updates it; `git diff` then shows which messages changed.
"""

import contextlib
import gzip
import io
import json
import os
import pickle
import shlex
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dropcli.cli import main
from tests.builders import archive, entry, pack, sample, tensor_pickle
from tests.conftest import redirected
from tests.refusal import snapshot

TRANSCRIPT = Path(__file__).with_suffix(".txt")


def make_files() -> None:
    """Make the files for the commands, good ones and bad ones."""
    batch = torch.ones(4, 3, 8, 8)
    for name, tensors in {
        "x": {"images": batch, "labels": torch.arange(4)},
        "there": {"x": batch},
        "matrix": {"x": torch.ones(9, 5)},
        "label": {"label": torch.ones(5)},
        "bytes": {"images": torch.ones(5, 8, 8).byte()},
        "plane": {"x": torch.ones(9, 9)},
        "image": {"x": torch.ones(3, 9, 9)},
        "video": {"x": torch.ones(2, 3, 9, 9, 9)},
        "scalar": {"x": torch.tensor(2.5)},
        "narrow": {"x": torch.ones(4, 1, 8, 8)},
        "int": {"x": torch.ones(4).int()},
        "ragged": {"a": torch.ones(3, 2), "b": torch.ones(4)},
        "half": {"x": torch.full((1000,), 60000.0).half()},
        "nhwc": {"images": torch.ones(4, 8, 8, 3)},
        "none": {"x": torch.ones(0, 4)},
        "both": {"images": batch, "label": torch.ones(4)},
    }.items():
        save_file(tensors, f"{name}.safetensors")
    save_file({"x": batch}, "metadata.safetensors", {"made": "by hand"})
    save_file({"x": batch}, "note.safetensors", {"dropcli": "my own note"})
    x, whole = torch.ones(20), torch.ones(20)
    for name, content in {
        "x": {"x": x},
        "numpy": {"a": np.ones(3)},
        "nothing": {"lr": 0.1},
        "views": {"a": whole[:12], "b": whole[8:]},
        "tied": {"encoder": x, "decoder": x.detach()},
        "mixed": {"x": x, "step": 5},
        "read-only": {"x": x},
    }.items():
        torch.save(content, f"{name}.pt")
    os.chmod("read-only.pt", 0o444)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"sparse": torch.eye(3).to_sparse(), "x": x}, "sparse.pt")
    torch.save({"x": x}, "old.pt", _use_new_zipfile_serialization=False)
    calls = b"".join(f"cpackage\nClass{number}\n)R".encode() for number in range(5))
    data = archive(b"\x80\x02](" + calls + tensor_pickle()[:-1] + b"e.", **{"data/0": bytes(16)})
    Path("stranger.pt").write_bytes(data)
    for folder in ("data", "other", "linked"):
        for number in range(3):
            sample(f"{folder}/{number}.pt", number)
    os.symlink(".", "linked/here")
    os.mkdir("empty")
    os.mkdir("folder.pt")
    Path("list").write_text("x.pt\n")
    Path("null").write_bytes(b"x.pt\0")
    _make_bad_files()


def _make_bad_files() -> None:
    os.mkdir("bad")
    good, saved = pack(entry(), bytes(8)), Path("x.pt").read_bytes()
    members = {"x/data.pkl": tensor_pickle(), "x/version": b"3", "x/data/0": bytes(16)}
    for name, data in {
        "empty.safetensors": b"",
        "seven.safetensors": b"1234567",
        "text.safetensors": b"hello, this is no tensor file\n",
        "cut.safetensors": good[:-3],
        "cut-header.safetensors": good[:20],
        "more.safetensors": good + b"more",
        "twice.safetensors": pack(b'{"x":%b,"x":%b}' % ((json.dumps(entry()["x"]).encode(),) * 2)),
        "header.safetensors": pack(entry(dtype="F128"), bytes(8)),
        "lfs.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "page.safetensors": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "index.safetensors": b'{"metadata": {"total_size": 8}, "weight_map": {"x": "a"}}',
        "x.gz": gzip.compress(good),
        "x.npy": _written(lambda file: np.save(file, np.ones(3))),
        "x.npz": _written(lambda file: np.savez(file, a=np.ones(3))),
        "x.tar": tarfile.TarInfo("pickle").tobuf(),
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "picture.pt": b"\xff\xd8\xff\xe0" + bytes(100),
        "pickle.pt": pickle.dumps({"a": 1}, 4),
        "cut.pt": saved[:-100],
        "cut-legacy.pt": Path("old.pt").read_bytes()[:-10],
        "deflated.pt": _written(lambda file: _deflate(file, members)),
        "program.pt": archive(b"cos\nsystem\n(S'harm'\ntR."),
        "torchscript.pt": archive(tensor_pickle(), **{"constants.pkl": b"\x80\x02)."}),
        "flipped.pt": saved.replace(torch.ones(20).numpy().tobytes(), b"\1" + bytes(79)),
        "strange.pt": archive(tensor_pickle(key="7"), **{"data/0": bytes(16)}),
    }.items():
        Path("bad", name).write_bytes(data)


def _written(write: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _deflate(file: io.BytesIO, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)


def retold(transcript: str) -> Iterator[str]:
    """Run the commands of the transcript in this folder; yield its lines with the new output."""
    make_files()
    for line in transcript.splitlines():
        if line.startswith("#"):
            yield from ("", line) if line != transcript.splitlines()[0] else (line,)
        if line.startswith("$ "):
            yield from ("", line, *_said(line[2:]))


def _said(command: str) -> Iterator[str]:
    """The codes of the messages of a command, then its lines."""
    words, _, stdin = command.partition(" < ")
    out, err = io.StringIO(), io.StringIO()
    given = redirected(0, stdin, os.O_RDONLY) if stdin else nullcontext()
    before = snapshot()
    with given, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        arguments = shlex.split(words)[1:]
        has_json = arguments[0] != "preview"
        code = main([*arguments, "--json"] if has_json else arguments)
    document = json.loads(out.getvalue()) if has_json else {}
    codes = [item["code"] for kind in ("warnings", "errors") for item in document.get(kind, ())]
    if not has_json or (code and len(codes) == 1):  # others have made their folder
        assert snapshot() == before, command
    yield f"exit {code}: {', '.join(codes)}"
    shown = err.getvalue().replace(torch.__version__, "VERSION").splitlines()
    yield from (line for line in shown if line.startswith(("error: ", "hint: ", "warning: ")))


def update() -> None:
    """Update the transcript."""
    before = TRANSCRIPT.read_text()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        now = list(retold(before))
    TRANSCRIPT.write_text("\n".join(now) + "\n")


if __name__ == "__main__":
    update()
