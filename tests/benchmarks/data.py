"""The input data: made once from a fixed seed, and found again by name."""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_SAMPLE = (3, 32, 32)
_PER_FOLDER = 1_000


@dataclass(frozen=True)
class Recipe(ABC):
    """The description of one data set; equal ones have the same name."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of its file or folder."""

    @property
    def title(self) -> str:
        """The title in the table."""
        return self.name.removesuffix(".safetensors")

    @abstractmethod
    def make(self, path: Path) -> None:
        """Write it."""


@dataclass(frozen=True)
class Images(Recipe):
    """A file of normally distributed images (N, 3, 32, 32), and of int64 labels."""

    dtype: str
    nbytes: int
    suffix: str = ".safetensors"  # or ".pt", or "-legacy.pt" as before torch 1.6

    @property
    def name(self) -> str:
        return f"{size(self.nbytes)} {self.dtype}{self.suffix}"

    def make(self, path: Path) -> None:
        import torch

        dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[self.dtype]
        count = max(1, round(self.nbytes / (3 * 32 * 32 * dtype.itemsize)))
        random = torch.Generator().manual_seed(0)
        images = torch.empty((count, *_SAMPLE), dtype=dtype)
        for begin in range(0, count, 4096):  # not all of them as float32 first
            part = images[begin : begin + 4096]
            part.copy_(torch.randn(part.shape, generator=random))
        _writer(self.suffix)({"images": images, "labels": torch.arange(count)}, path)


@dataclass(frozen=True)
class Layers(Recipe):
    """A model: one file of 64 float32 tensors, `layer.0` to `layer.63`."""

    nbytes: int

    @property
    def name(self) -> str:
        return f"{size(self.nbytes)} of 64 tensors.safetensors"

    def make(self, path: Path) -> None:
        import torch

        random = torch.Generator().manual_seed(0)
        shape = (64, max(1, self.nbytes // 64 // 256))
        tensors = {f"layer.{index}": torch.randn(shape, generator=random) for index in range(64)}
        _writer(".safetensors")(tensors, path)


@dataclass(frozen=True)
class Tensors(Recipe):
    """One file of many tensors, each of 1,024 float32 numbers."""

    count: int

    @property
    def name(self) -> str:
        return f"{self.count:,} tensors of 4 KiB.safetensors"

    def make(self, path: Path) -> None:
        import torch

        numbers = torch.randn(self.count, 1024, generator=torch.Generator().manual_seed(0))
        tensors = {f"layer.{index}": row.clone() for index, row in enumerate(numbers)}
        _writer(".safetensors")(tensors, path)


@dataclass(frozen=True)
class Folder(Recipe):
    """Files of images, a thousand to a folder."""

    count: int
    nbytes: int
    suffix: str = ".safetensors"

    @property
    def name(self) -> str:
        return f"{self.count:,} files of {size(self.nbytes)}{self.suffix}"

    def make(self, path: Path) -> None:
        import torch

        samples = max(1, round(self.nbytes / (3 * 32 * 32 * 4)))
        random = torch.Generator().manual_seed(0)
        write = _writer(self.suffix)
        for number in range(self.count):
            folder = path / f"{number // _PER_FOLDER:03}"
            folder.mkdir(parents=True, exist_ok=True)
            images = torch.randn((samples, *_SAMPLE), generator=random)
            tensors = {"images": images, "labels": torch.arange(samples)}
            write(tensors, folder / f"{number:06}{self.suffix}")


@dataclass(frozen=True)
class Hole(Recipe):
    """A sparse file of zeros of any size."""

    nbytes: int

    @property
    def name(self) -> str:
        return f"{size(self.nbytes)} of zeros.safetensors"

    def make(self, path: Path) -> None:
        count = self.nbytes // 4
        tensor = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
        header = json.dumps({"zeros": tensor}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        os.truncate(path, 8 + len(header) + 4 * count)


@dataclass(frozen=True)
class Nothing(Recipe):
    """For commands that read no data."""

    name = ""

    def make(self, path: Path) -> None:
        raise AssertionError("there is nothing to make")


NOTHING = Nothing()


def size(nbytes: int) -> str:
    """A number of bytes in the form `50 KiB`."""
    units = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "bytes"))
    unit, name = next(pair for pair in units if nbytes >= pair[0])
    return f"{nbytes / unit:.3g} {name}"


class Store:
    """A folder of data and of outputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outputs: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, recipe: Recipe) -> Path:
        """The path of the data, which is made if it does not exist or is incomplete."""
        path = self._folder / recipe.name
        if recipe != NOTHING and not path.exists():
            unfinished = self._folder / f"unfinished{path.suffix}"
            remove(unfinished)
            recipe.make(unfinished)
            unfinished.rename(path)
        return path

    def output(self, source: Path) -> Path:
        """A path for the output of a command, where nothing exists."""
        if source.is_file():
            path = self._folder / f"output{source.suffix}"
        else:
            path = self._folder / f"outputs-{len(self._outputs)}"
            self._outputs.append(path)
        remove(path)
        return path

    def clear(self) -> None:
        """Remove all folders that were written.

        Not after each run: ext4 searches past every inode that was deleted in the last minutes,
        which would cost each new file up to a millisecond.
        """
        while self._outputs:
            remove(self._outputs.pop())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def total_bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _writer(suffix: str) -> Callable[..., object]:
    import torch
    from safetensors.torch import save_file

    if suffix == "-legacy.pt":
        return partial(torch.save, _use_new_zipfile_serialization=False)
    return torch.save if suffix == ".pt" else save_file
