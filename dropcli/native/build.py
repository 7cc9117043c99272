"""The build hook: compile the kernel with what is there, and go on without it where that fails.

Run by hatchling, not by dropcli. `DROPCLI_BUILD=numpy` builds no kernel; the result works all the
same, more slowly.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
LIBRARY = HERE / "kernel.so"
# Contraction and reassociation would round otherwise than numpy. No result depends on traps and
# errno, but comparisons are only vectorized without them.
FLAGS = ["-std=c11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]
LEVELS = {"x86_64": ("x86-64", "x86-64-v3")}
ZIG_SYSTEMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64"), ("Darwin", "arm64")}


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernel to wheels and editable installations."""

    def dependencies(self) -> list[str]:
        """A C compiler as a wheel, where there is no other."""
        machine = (platform.system(), platform.machine())
        return ["ziglang"] if _wanted() and not _compiler() and machine in ZIG_SYSTEMS else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are listed."""
        LIBRARY.unlink(missing_ok=True)
        if not _wanted():
            return
        try:
            compile_kernel(_compiler() or [sys.executable, "-m", "ziglang", "cc"], LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            self.app.display_warning(f"dropcli is installed without its kernel: {reason}")
            return
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{system}"
        build_data["pure_python"] = False
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(self.root)}")


def _wanted() -> bool:
    return os.environ.get("DROPCLI_BUILD") != "numpy"


def _compiler() -> list[str] | None:
    for name in (os.environ.get("CC"), "cc", "clang"):
        command = shlex.split(name or "")
        if command and shutil.which(command[0]):
            return command
    return None


def compile_kernel(compiler: list[str], library: Path) -> None:
    """Write the shared library; CalledProcessError, with what the compiler said, if that fails."""
    zig = "ziglang" in compiler
    compiler = [*compiler, *FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for level in LEVELS.get(platform.machine(), ("base",)):
            named = level.replace("-", "_")
            # zig takes the levels of processors under -mcpu, and would take this machine's own.
            choice = [f"-mcpu={named}" if zig else f"-march={level}"] if level != "base" else []
            objects.append(f"{folder}/{named}.o")
            _run([*compiler, *choice, f"-DLEVEL={named}", "-c", HERE / "kernel.c",
                  "-o", objects[-1]])  # fmt: skip
        _run([*compiler, "-shared", HERE / "dispatch.c", *objects, "-o", library])


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
