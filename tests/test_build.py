"""Installations: with a C compiler, without, with one that fails, and the kernel under sanitizers.

pytest -m slow tests/test_build.py
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable).parent
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g"

pytestmark = pytest.mark.slow
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


def install(variables: dict[str, str]) -> dict[str, str]:
    """Install into a folder; return the environment in which it is found."""
    copy = Path("source").absolute()
    if not copy.exists():
        files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for name in filter(None, files.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "-t", "installed"]
    subprocess.run([*pip, str(copy)], check=True, env={**os.environ, **variables})
    return {**os.environ, "PYTHONPATH": str(Path("installed").absolute())}


def version(environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "dropcli", "--version"]
    return subprocess.check_output(command, env=environment, text=True)


def tag() -> str:
    (wheel,) = Path("installed").glob("dropcli-*.dist-info/WHEEL")
    return next(line for line in wheel.read_text().splitlines() if line.startswith("Tag: "))


@pytest.mark.parametrize(
    ("variables", "kernel"),
    [
        pytest.param({"CC": "gcc"}, "native", marks=needs_gcc),
        # Only Python is on the path: the ziglang wheel is downloaded, and compiles.
        ({"CC": "", "PATH": str(PYTHON)}, "native"),
        ({"CC": "false"}, "numpy"),
        ({"DROPCLI_BUILD": "numpy"}, "numpy"),
    ],
    ids=str,
)
def test_every_installation_works(variables: dict[str, str], kernel: str) -> None:
    environment = install(variables)
    assert f"kernel {kernel}" in version(environment)
    assert tag().startswith("Tag: py3-none-")
    assert (tag() == "Tag: py3-none-any") == (kernel == "numpy")
    for name in ("report/templates/page.html", "guide/report.md"):
        assert Path("installed/dropcli", name).exists()
    switched = {**environment, "DROPCLI_KERNEL": "numpy"}
    assert "kernel numpy" in version(switched)


def machine(library: bytes) -> str:
    """The machine of a shared library, from its first bytes: ELF's e_machine, Mach-O's cputype."""
    if library[:4] == b"\x7fELF":
        return {62: "linux x86_64", 183: "linux aarch64"}[int.from_bytes(library[18:20], "little")]
    assert library[:4] == b"\xcf\xfa\xed\xfe"
    cputype = int.from_bytes(library[4:8], "little")
    return {0x01000007: "macos x86_64", 0x0100000C: "macos arm64"}[cputype]


def test_wheels_of_every_platform_contain_its_kernel() -> None:
    pytest.importorskip("auditwheel", reason="needs dropcli[release]")
    subprocess.run([ROOT / ".ci/wheels", "dist"], check=True)
    wheels = {path.stem.partition("py3-none-")[2]: path for path in Path("dist").glob("*.whl")}
    kernels = {
        tag: machine(zipfile.ZipFile(path).read("dropcli/native/kernel.so"))
        for tag, path in wheels.items()
    }
    assert kernels == {
        "manylinux_2_17_x86_64": "linux x86_64",
        "manylinux_2_17_aarch64": "linux aarch64",
        "macosx_11_0_x86_64": "macos x86_64",
        "macosx_11_0_arm64": "macos arm64",
    }
    for tag in kernels:
        if "linux" in tag:
            seen = [sys.executable, "-m", "auditwheel", "show", str(wheels[tag])]
            text = " ".join(subprocess.check_output(seen, text=True).split())
            assert f'is consistent with the following platform tag: "{tag}"' in text
    assert len(list(Path("dist").glob("*.tar.gz"))) == 1


@needs_gcc
def test_the_kernel_is_clean_under_sanitizers() -> None:
    environment = install({"CC": "gcc", "CFLAGS": SANITIZERS})
    library = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    environment |= {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    assert "kernel native" in version(environment)
    shutil.copytree(ROOT / "tests", "tests")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_native.py",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
