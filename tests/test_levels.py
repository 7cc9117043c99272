"""The kernel of every compiler and processor gives the bits of numpy.

pytest -m slow tests/test_levels.py, in an environment with ziglang, on a system with gcc, clang and
qemu-user; what is missing is skipped.
"""

import ctypes
import importlib.util
import json
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from dropcli import native
from tests.conftest import Run
from tests.hard_values import DTYPES, VALUES, values

pytestmark = pytest.mark.slow

NATIVE = Path(native.__file__).parent
DRIVER = Path(__file__).with_name("kernel") / "driver.c"
ZIG = [sys.executable, "-m", "ziglang", "cc"]
COMPILERS = {"gcc": ["gcc"], "clang": ["clang"], "zig": ZIG}
ARM = (["aarch64-linux-gnu-gcc", "-static"], [*ZIG, "-target", "aarch64-linux-musl"])
LEVELS = {"x86_64": "sse2", "x86_64_v3": "avx2", "x86_64_v4": "avx512vl"}
CASES = [
    (kind, count, dtype)
    for kind in VALUES
    for count in (0, 1, 63, 65, 513, 10_000, 65_536)
    for dtype in DTYPES
]
BUILD = """
import json, runpy, sys
from pathlib import Path
build = runpy.run_path(sys.argv[1])
build["compile_kernel"](json.loads(sys.argv[2]), Path(sys.argv[3]))
"""


def is_there(compiler: list[str]) -> bool:
    if compiler[:3] == ZIG[:3]:
        return importlib.util.find_spec("ziglang") is not None
    return shutil.which(compiler[0]) is not None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are those of x86-64")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_compilers_and_levels(
    run: Run, monkeypatch: pytest.MonkeyPatch, compiler: str, level: str
) -> None:
    if LEVELS[level] not in Path("/proc/cpuinfo").read_text():
        pytest.skip(f"this processor is no {level}")
    if not is_there(COMPILERS[compiler]):
        pytest.skip(f"{compiler} is not installed")
    words = [str(NATIVE / "build.py"), json.dumps(COMPILERS[compiler]), "kernel.so"]
    subprocess.run([sys.executable, "-c", BUILD, *words], check=True)
    library = ctypes.CDLL(str(Path("kernel.so").absolute()))
    chosen: list[Any] = [getattr(library, f"drop_block_{level}"), None]

    tensors = {f"{i}": values(*case, i) for i, case in enumerate(CASES)}
    save_file(tensors, "x.safetensors")
    found = []
    for function in chosen:
        monkeypatch.setattr(native, "_library", lambda function=function: function)
        words = ["-fo", "y.safetensors", "--json", "--all-floats", "--seed", "7", "-p", "0.3"]
        done = run("apply", "x.safetensors", *words)
        assert done.code == 0, done.out
        found.append((Path("y.safetensors").read_bytes(), done.json["files"][0]["tensors"]))
    assert found[0] == found[1]


def requests() -> bytes:
    """What the driver reads: a request, words and elements for each case."""
    random = np.random.default_rng(0)
    parts = []
    for number, (kind, count, dtype) in enumerate(CASES):
        raw = values(kind, count, dtype, number)
        itemsize = raw.element_size()
        scale = float(np.array(1 / 0.7).astype(DTYPES[dtype]))
        kinds = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3}
        last = int(0.3 * 2**32)
        parts.append(struct.pack("<QQdII", count, itemsize, scale, last, kinds[dtype]))
        parts.append(random.integers(0, 2**32, count, dtype=np.uint32).tobytes())
        parts.append(bytes(raw.untyped_storage())[: count * itemsize])
    return b"".join(parts)


def build_driver(compiler: list[str], *, level: str) -> Path:
    flags = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]
    files = ["kernel.c", "dispatch.c"]
    if level == "x86_64":  # one level is enough here
        flags.append("-Ddrop_block_x86_64=drop_block")
        files = ["kernel.c"]
    path = Path(f"driver-{level}").absolute()
    sources = [str(NATIVE / name) for name in files] + [str(DRIVER)]
    subprocess.run(
        [*compiler, *flags, f"-DLEVEL={level}", f"-I{NATIVE}", *sources, "-o", str(path)],
        check=True,
    )
    return path


def test_arm64_in_an_emulator() -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not emulator:
        pytest.skip("qemu-user is not installed")
    compiler = next(filter(is_there, ARM), None)
    if not compiler:
        pytest.skip("no compiler for arm64: neither ziglang nor gcc-aarch64-linux-gnu")
    if platform.machine() != "x86_64" or not shutil.which("gcc"):
        pytest.skip("needs gcc on x86-64 to compare with")
    given = requests()
    outputs = [
        subprocess.run(command, input=given, capture_output=True, check=True).stdout
        for command in (
            [str(build_driver(["gcc"], level="x86_64"))],
            [emulator, str(build_driver(compiler, level="base"))],
        )
    ]
    assert len(outputs[0]) > len(given) / 3
    assert outputs[0] == outputs[1]
