"""The build hook: compile the kernel if there is a compiler, and continue without it otherwise.

It is run by hatchling, not by dropcli. `DROPCLI_BUILD=numpy` builds no kernel; the result is
slower. `DROPCLI_PLATFORM=macos-arm64` builds the wheel for another platform.
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
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
LIBRARY = HERE / "kernel.so"
ZIG = [sys.executable, "-m", "ziglang", "cc"]
# With contraction or reassociation, results would be rounded differently than in numpy. No result
# depends on traps and errno, but the compiler vectorizes comparisons only without them.
FLAGS = ["-std=c11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]
LEVELS = {"x86_64": ("x86-64", "x86-64-v3", "x86-64-v4")}


class Platform(NamedTuple):
    """A platform with a released wheel."""

    target: str  # the name for zig
    tag: str  # the tag of the wheel


# The oldest systems that numpy's wheels support, so that the kernel adds no limit.
PLATFORMS = {
    "linux-x86_64": Platform("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64"),
    "linux-aarch64": Platform("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64"),
    "macos-x86_64": Platform("x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "macos-arm64": Platform("aarch64-macos.11.0", "macosx_11_0_arm64"),
}
ZIG_SYSTEMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64"), ("Darwin", "arm64")}


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernel to wheels and editable installations."""

    def dependencies(self) -> list[str]:
        """A C compiler from a wheel, for other platforms and for systems without a compiler."""
        if _platform():
            return ["ziglang"]
        machine = (platform.system(), platform.machine())
        return ["ziglang"] if _wanted() and not _compiler() and machine in ZIG_SYSTEMS else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are listed."""
        LIBRARY.unlink(missing_ok=True)
        if other := _platform():  # a wheel for release must have the kernel
            machine = other.target.partition("-")[0]
            compile_kernel([*ZIG, "-target", other.target], LIBRARY, machine)
            tag = other.tag
        elif _wanted():
            try:
                compile_kernel(_compiler() or ZIG, LIBRARY)
            except (OSError, subprocess.CalledProcessError) as error:
                reason = getattr(error, "stderr", None) or error
                self.app.display_warning(f"dropcli is installed without its kernel: {reason}")
                return
            tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        else:
            return
        build_data["tag"] = f"py3-none-{tag}"
        build_data["pure_python"] = False
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(self.root)}")


def _platform() -> Platform | None:
    name = os.environ.get("DROPCLI_PLATFORM")
    return PLATFORMS[name] if name else None


def _wanted() -> bool:
    return os.environ.get("DROPCLI_BUILD") != "numpy"


def _compiler() -> list[str] | None:
    for name in (os.environ.get("CC"), "cc", "clang"):
        command = shlex.split(name or "")
        if command and shutil.which(command[0]):
            return command
    return None


def compile_kernel(compiler: list[str], library: Path, machine: str = platform.machine()) -> None:
    """Write the shared library.

    Raises CalledProcessError with the compiler's output if that fails.
    """
    zig = "ziglang" in compiler
    compiler = [*compiler, *FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for level in LEVELS.get(machine, ("base",)):
            named = level.replace("-", "_")
            # zig takes the level by -mcpu; without it, zig would use that of this machine.
            choice = [f"-mcpu={named}" if zig else f"-march={level}"] if level != "base" else []
            objects.append(f"{folder}/{named}.o")
            _run([*compiler, *choice, f"-DLEVEL={named}", "-c", HERE / "kernel.c",
                  "-o", objects[-1]])  # fmt: skip
        _run([*compiler, "-shared", HERE / "dispatch.c", *objects, "-o", library])


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
