"""An oracle for published files: torch, with inert classes if torch refuses a file.

Nothing here is imported from the package, and no class of a file's own is imported or run.
"""

import pickle
import tarfile
import types
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

_LEGACY = b"l\xfc\x9cF\xf9 j\xa8P\x19"
_REAL = ("torch._utils _rebuild_", "torch._tensor _rebuild_from_type_v2", "collections OrderedDict")
_REAL_CLASSES = ("torch.nn.parameter Parameter", "torch Size", "torch device", "_codecs encode")


class Made:
    """A substitute for any other class or function, which records its arguments."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Made":
        made = super().__new__(cls)
        made.arguments, made.items, made.pairs, made.state = arguments, [], [*named.items()], None
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments: tuple[Any, ...]
        self.items: list[Any]
        self.pairs: list[tuple[Any, Any]]
        self.state: Any

    def __call__(self, *arguments: Any) -> "Made":
        return Made(self, *arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    def add(self, value: Any) -> None:
        self.items.append(value)

    def extend(self, values: list[Any]) -> None:
        self.items.extend(values)


class Unpickler(pickle.Unpickler):
    """Imports only classes and functions that rebuild tensors."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module} {name}"
        torch_value = getattr(torch, name, None) if module == "torch" else None
        storage = module in ("torch", "torch.storage") and name.endswith("Storage")
        if full.startswith(_REAL) or full in _REAL_CLASSES or storage:
            return super().find_class(module, name)
        if isinstance(torch_value, torch.dtype):
            return torch_value
        return type(f"{module}.{name}", (Made,), {})


_INERT = types.ModuleType("inert")
_INERT.Unpickler = Unpickler  # type: ignore[attr-defined]
_INERT.load = lambda file, **how: Unpickler(file, **how).load()  # type: ignore[attr-defined]


def unpacked(source: Path, folder: Path) -> Path:
    """A package as a folder; a wheel or source archive is unpacked into `folder`."""
    if source.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder / source.name)
    elif source.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(source) as packed:
            packed.extractall(folder / source.name, filter="data")
    else:
        return source
    return folder / source.name


def tensor_files(folder: Path) -> Iterator[Path]:
    """The files with tensors, with any names; TorchScript programs are not among them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and _has_tensors(path):
            yield path


def _has_tensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(32)
    if head.startswith(b"PK\3\4"):
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
        return "data.pkl" in names and "constants.pkl" not in names
    return _LEGACY in head or (head[8:10] == b'{"' and path.suffix == ".safetensors")


def read(path: Path) -> tuple[Any, bool]:
    """The content of a file, and whether torch opens it with `weights_only=True`."""
    if path.suffix == ".safetensors" or path.read_bytes()[8:10] == b'{"':
        return load_file(path), True
    with warnings.catch_warnings(action="ignore"):
        try:
            return torch.load(path, weights_only=True, map_location="cpu"), True
        except Exception:  # noqa: BLE001  # torch raises whatever comes
            how: dict[str, Any] = {"pickle_module": _INERT, "weights_only": False}
            return torch.load(path, map_location="cpu", **how), False


def tensors_in(content: Any) -> dict[str, torch.Tensor]:
    """All tensors by their dotted names; later ones with the same name get a number."""
    found: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    for name, value in _walk(content):
        if isinstance(value, torch.Tensor):
            wanted = name = name or "tensor"
            while name in found:
                counts[wanted] = counts.get(wanted, 1) + 1
                name = f"{wanted}#{counts[wanted]}"
            found[name] = value
    return found


def only_tensors(content: Any) -> bool:
    """Whether there is nothing but tensors in dicts, lists and tuples."""
    return all(isinstance(value, torch.Tensor) for _, value in _walk(content))


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Every value that is no container, with its name: depth first, each container once."""
    seen: set[int] = set()
    stack = [("", content)]
    while stack:
        name, value = stack.pop()
        parts = None if isinstance(value, torch.Tensor) else _parts(value)
        if parts is None:
            yield name, value
        elif id(value) not in seen:
            seen.add(id(value))
            below = [(f"{name}.{_text(key)}" if name else _text(key), part) for key, part in parts]
            stack.extend(reversed(below))


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, dict):
        return [*value.items()]
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return [*enumerate(value)]
    if isinstance(value, Made):
        own = [*enumerate(value.arguments), *enumerate(value.items), *value.pairs]
        return own + _attributes(value.state)
    return None


def _attributes(state: Any) -> list[tuple[Any, Any]]:
    if isinstance(state, dict):
        return [*state.items()]
    if isinstance(state, tuple):
        return [pair for i, part in enumerate(state) for pair in _of_state(i, part)]
    return [] if state is None else [("state", state)]


def _of_state(number: int, part: Any) -> list[tuple[Any, Any]]:
    return [*part.items()] if isinstance(part, dict) else [(number, part)]


def _text(key: Any) -> str:
    return str(key) if isinstance(key, str | int | float | None | tuple) else "(object)"
