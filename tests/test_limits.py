"""Limits of memory, start-up time and imports, for files of any size."""

import os
import shlex
import shutil
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file

from tests.builders import legacy_file, sample, sparse, tensor2
from tests.conftest import Run, codes, peak_megabytes, shell


@pytest.mark.parametrize("options", [(), ("--over", "0,1:8")], ids=str)
def test_f16_memory_does_not_grow_with_the_file(options: tuple[str, ...]) -> None:
    count = 150_000_000
    header = '{"x":{"dtype":"F32","shape":[%d,5],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (count // 5, 4 * count), 4 * count)
    assert peak_megabytes("apply", "x.safetensors", "-o", "/dev/null", "-q", *options) < 100


def test_memory_does_not_grow_with_a_pt_file() -> None:
    torch.save({"x": torch.zeros(150_000_000)}, "x.pt")
    assert peak_megabytes("apply", "x.pt", "-o", "/dev/null", "-q") < 100


@pytest.mark.parametrize(
    "megabytes", [300, pytest.param(6000, marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_memory_does_not_grow_with_a_legacy_file(megabytes: int) -> None:
    numel = b"J" + struct.pack("<i", megabytes << 18)
    pickled = tensor2("0", 1, 1).replace(b"K\1", numel, 1).replace(b"(K\1t", b"(" + numel + b"t", 1)
    Path("x.pt").write_bytes(legacy_file(pickled + b".", {"0": (megabytes << 18, b"")}))
    os.truncate("x.pt", Path("x.pt").stat().st_size + (megabytes << 20))
    assert peak_megabytes("apply", "x.pt", "-o", "/dev/null", "-q") < 100
    assert peak_megabytes("info", "x.pt") < 100


def _numbers() -> object:
    return list(range(2_000_000))


def _molecules() -> object:
    """A table beside the tensors, 6 MB in the pickle."""
    array = numpy.arange(5.0)
    return {
        f"C{number:039}": {
            "smiles": f"N{number:040}",
            "charges": [number + place / 7 for place in range(40)],
            "bonds": [(place, place + 1) for place in range(10)],
            "array": array + number if number % 10 == 0 else numpy.float64(number),
        }
        for number in range(9000)
    }


@pytest.mark.parametrize(
    ("make", "most"), [(_numbers, 110), (_molecules, 120)], ids=["numbers", "table"]
)
def test_memory_follows_tensors_and_not_the_pickle(make: Callable[[], object], most: int) -> None:
    torch.save({"others": make(), "x": torch.ones(100)}, "x.pt")
    assert peak_megabytes("apply", "x.pt", "-o", "/dev/null", "-q") < most
    assert peak_megabytes("info", "x.pt") < most


@pytest.mark.slow
def test_f16_six_gigabytes() -> None:
    count = 1_500_000_000
    header = '{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (count, 4 * count), 4 * count)
    assert peak_megabytes("apply", "x.safetensors", "-o", "/dev/null", "-q") < 100
    assert peak_megabytes("apply", "x.safetensors", "-o", "/dev/null", "-q", "--eval") < 100


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["info", "x.safetensors"],
        ["apply", "x.safetensors", "-o", "y.safetensors"],
        ["apply", "x.safetensors", "-o", "y.safetensors", "--json", "--stats", "s.csv"],
        ["info", "x.pt"],
        ["apply", "x.pt", "-o", "y.pt"],
        ["apply", "x.pt", "-o", "z.safetensors"],
        ["info", "old.pt"],
        ["apply", "old.pt", "-o", "y.pt"],
    ],
    ids=str,
)
def test_torch_is_not_imported(command: list[str]) -> None:
    save_file({"x": torch.ones(3), "b": torch.ones(3).bfloat16()}, "x.safetensors")
    torch.save({"x": torch.ones(3), "b": torch.ones(3).bfloat16()}, "x.pt")
    torch.save({"x": torch.ones(3)}, "old.pt", _use_new_zipfile_serialization=False)
    code = "import sys; from dropcli.cli import main; code = main(sys.argv[1:]);"
    code += "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    done = shell(shlex.join((sys.executable, "-c", code, *command)))
    assert done.returncode == 0
    assert done.stderr.endswith(b"False\n")


def test_help_needs_no_numpy() -> None:
    code = "import sys; from dropcli.cli import main; main(['--help']);"
    code += "print({'numpy', 'rich', 'cryptography'} & set(sys.modules), file=sys.stderr)"
    assert shell(f'{sys.executable} -c "{code}"').stderr == b"set()\n"


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("info x.safetensors", "rich cryptography hashlib tempfile csv dropcli.formats.pt"),
        ("apply x.safetensors -o y.safetensors", "rich secrets random tempfile zipfile csv"),
    ],
)
def test_short_runs_import_little(command: str, unused: str) -> None:
    """Imports take most of the time of a run over a small file."""
    save_file({"x": torch.ones(3)}, "x.safetensors")
    code = f"import sys; from dropcli.cli import main; main({command.split()});"
    code += f"print(set({unused.split()}) & set(sys.modules), file=sys.stderr)"
    assert shell(f'{sys.executable} -c "{code}"').stderr == b"set()\n"


def test_no_network_and_no_processes() -> None:
    """An audit hook sees every socket and every process that Python would make."""
    save_file({"x": torch.ones(3)}, "x.safetensors")
    code = """
import sys
import threading
def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn")):
        sys.stderr.write(event)
sys.addaudithook(hook)
from dropcli.cli import main
sys.exit(main(["apply", "x.safetensors", "-o", "y.safetensors", "-q"]))
"""
    Path("hooked.py").write_text(code)
    done = shell(f"{sys.executable} hooked.py")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("nbytes", [100, 1 << 22])
def test_no_thread_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    for number in range(6):  # published together, but too few for one sync of the file system
        save_file({"x": torch.rand(nbytes // 4)}, f"data-{number}.safetensors")
    files = [f"data-{number}.safetensors" for number in range(6)]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = run("apply", *files, "-o", "out", "--json", "-j", 1)
    assert (done.code, {*done.errors}) == (1, {"no-threads"})
    assert not list(Path("out").glob("*.safetensors"))


def test_few_open_files_are_one_line() -> None:
    for number in range(200):  # enough for worker processes
        save_file({"x": torch.ones(3)}, f"data-{number}.safetensors")
    words = f"{sys.executable} -m dropcli apply data-*.safetensors -o"
    done = shell(f"ulimit -n 20; {words} few")
    assert (done.returncode, done.stderr.splitlines()[1:]) == (1, [b"hint: ulimit -n 1024"])
    assert not Path("few").exists() or not list(Path("few").iterdir())
    for number in range(200, 1000):  # enough for chunks of the largest number of files
        save_file({"x": torch.ones(3)}, f"data-{number}.safetensors")
    done = shell(f"ulimit -n 64; {words} enough -q")
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell(f"ulimit -S -n 20; {words} raised -q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(Path("raised").glob("*.safetensors"))) == 1000


@pytest.mark.slow
def test_the_plan_of_a_million_files_fits_into_600_megabytes() -> None:
    """Dry runs over all of them and over one shard of eight, without a journal."""
    for number in range(1000):
        os.makedirs(f"data/{number:03}")
        sample(f"data/{number:03}/0000.safetensors", number)
        for other in range(1, 1000):
            os.link(
                f"data/{number:03}/0000.safetensors", f"data/{number:03}/{other:04}.safetensors"
            )
    words = ("apply", "data", "-o", "out", "--seed", "7", "-q")
    try:
        assert peak_megabytes(*words, "-n", "-j", "2") < 600
        assert peak_megabytes(*words, "-n", "-j", "2", "--shard", "1/8") < 300
    finally:
        shutil.rmtree("data")


def test_little_address_space_is_one_error_and_never_a_hang() -> None:
    for number in range(12):
        save_file({"x": torch.rand(8, 9)}, f"{number}.safetensors")
    words = "dropcli apply *.safetensors -fo out --seed 1 -j 2"
    for megabytes in (20, 60, 110, 130, 140, 160, 200):
        done = shell(f"ulimit -v {megabytes << 10}; timeout -s KILL 60 {words} > /dev/null")
        assert done.returncode in (0, 1), megabytes
        errors = [line for line in done.stderr.splitlines() if b" done" not in line]
        assert len(errors) <= 2, done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_a_pool_that_lacks_a_thread_is_one_error(run: Run) -> None:
    """Python's own pool then waits forever, for workers that never get a task."""
    for number in range(12):
        save_file({"x": torch.rand(8, 9)}, f"{number}.safetensors")
    code = """
import sys, threading
start = threading.Thread.start
def refuse(self):
    name = getattr(self._target, "__name__", self.name)
    if sys.argv[1] in (name, self.name):
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = refuse
from dropcli.cli import main
sys.exit(main(["apply", *sys.argv[2:], "-o", "out", "--seed", "1", "-j", "2"]))
"""
    Path("refuse.py").write_text(code)
    for name in ("QueueFeederThread", "_follow_parent"):
        command = f"timeout 60 {sys.executable} refuse.py {name} *.safetensors"
        done = shell(command, OPENBLAS_NUM_THREADS="1")  # or a server starts the workers
        assert done.returncode == 1
        assert done.stderr.decode().splitlines() == [
            "error: worker processes cannot be started: the system starts no more threads",
            "hint: add -j 1",
        ]


def test_without_torch_only_its_masks_are_missing() -> None:
    save_file({"x": torch.rand(8, 9)}, "x.safetensors")
    code = """
import importlib.metadata, sys
version = importlib.metadata.version
def without_torch(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without_torch
sys.modules["torch"] = None
from dropcli.cli import main
sys.exit(main(sys.argv[1:]))
"""
    Path("without.py").write_text(code)
    for words in (
        "apply x.safetensors -qo y.safetensors --seed 1",
        "verify y.safetensors --source x.safetensors",
        "apply x.safetensors -qo z.safetensors --like y.safetensors",
    ):
        done = shell(f"{sys.executable} without.py {words}")
        assert done.returncode == 0, done.stderr
    done = shell(f"{sys.executable} without.py apply x.safetensors -o z.pt --rng torch --json")
    assert (done.returncode, codes(done.stdout)) == (1, ["not-loaded"])
    assert done.stderr.splitlines()[1:] == [b"hint: pip install torch"]
