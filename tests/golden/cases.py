"""Commands over twenty small inputs, and the hashes of all that they write."""

import hashlib
import io
import json
import os
import shlex
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from dropcli.cli import main

HERE = Path(__file__).parent
HASHES = HERE / "hashes.txt"

# A command for each option that changes bytes, and each kind of file. `apply` and `--seed 7` are
# understood, and `-o` with the first word where no output is given.
COMMANDS = """
images.safetensors
images.safetensors --seed 18446744073709551615 -p 0.05
images.safetensors -p 0
images.safetensors -p 1
images.safetensors -p 0.1:0.9
images.safetensors -p 0.1:0.9 --p-per sample
images.safetensors --mode channel -p 0.4
images.safetensors --mode pixel
images.safetensors --mode patch:3 -p 0.3
images.safetensors --mode sample
images.safetensors --over 0,2:3,3:2 -p 0.3
images.safetensors --over 0,1 --exact -p 0.34
images.safetensors --over 0,1 --min-keep 2 -p 0.9
images.safetensors --no-rescale
images.safetensors --fill -1.5
images.safetensors --alpha -p 0.2
images.safetensors --eval
images.safetensors --stream other/name
images.safetensors --rng torch
images.safetensors --no-provenance
images.safetensors --copies 2 --keep-original -o copies
images.safetensors --copies 3 --concat -o joined.safetensors
labelled.safetensors -o labelled.pt
images.safetensors --in-place
dtypes.safetensors
dtypes.safetensors -k * --exclude i64 --exclude bool --exclude u8 -p 0.3
dtypes.safetensors -k i64 -k bool -k u8 --no-rescale --fill 1
specials.safetensors -p 0.4
specials.safetensors --fill 2 -p 0.4
small.safetensors --all-floats
blocks.safetensors -p 0.3
blocks.safetensors --over 0:8 -p 0.6
rows.safetensors --mode feature -p 0.25
rows.safetensors --over 1 --exact -p 0.123
channels_last.safetensors --over 0,3
names.safetensors -p 0.7
labelled.safetensors
labelled.safetensors --all-floats
dict.pt
tuple.pt -o tuple.safetensors
tensor.pt --over 0
tuple.pt --over 0,1
views.pt
checkpoint.pt -p 0.2
arrays.pt
legacy.pt
legacy.pt -o legacy.safetensors
legacy_views.pt
legacy_module.pt -p 0.3
tree -o out --copies 2
tree -o out -p 0.1:0.5 --copy-others
mask images.safetensors -p 0.3
mask views.pt --mode sample
"""


def commands() -> list[list[str]]:
    """The complete words of each command."""
    found = []
    for line in COMMANDS.split("\n"):
        words = shlex.split(line)
        if not words:
            continue
        words += [] if "--seed" in words else ["--seed", "7"]
        command = words.pop(0) if words[0] == "mask" else "apply"
        words += [] if {"-o", "--in-place"} & {*words} else ["-o", f"out/{words[0]}"]
        found.append([command, *words, "--no-sync", "--json"])
    return found


def needs_torch(name: str) -> bool:
    """Whether the case of a hash can only run where torch is installed."""
    return "--rng torch" in name and not find_spec("torch")


def run_all() -> dict[str, str]:
    """The hash of each output and of each report, by command and file."""
    found: dict[str, str] = {}
    before = os.getcwd()
    for words in commands():
        if not needs_torch(shlex.join(words)):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                try:
                    found |= _run(words)
                finally:
                    os.chdir(before)
    return found


def known() -> dict[str, str]:
    """The recorded hashes, by command and file."""
    lines = (line.split("  ", 1) for line in HASHES.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _run(words: list[str]) -> dict[str, str]:
    """Run a command here, over copies of the inputs."""
    source = HERE / "inputs" / words[1]
    (shutil.copytree if source.is_dir() else shutil.copy)(source, words[1])
    there = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    Path("out").mkdir()
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    assert code == 0, f"{shlex.join(words)}: {err.getvalue()}"
    # Only the tensors of the report: they hold the decisions and the statistics.
    tensors = [file["tensors"] for file in json.loads(out.getvalue())["files"]]
    command = shlex.join(words[words[0] == "apply" : -2])
    hashes = {f"{command}  report": _digest(json.dumps(tensors).encode())}
    for path in sorted(path for path in Path().rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix != ".jsonl" and data != there.get(path):  # a journal has times
            hashes[f"{command}  {path}"] = _digest(data)
    return hashes


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
