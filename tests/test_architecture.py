"""The rooms: which file may import which, and who may import torch, typer and rich."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dropcli

PACKAGE = Path(dropcli.__file__).parent

# Arrows run down only: a file imports lower floors, never its own or above.
FLOORS = {
    "__main__": 15,
    "cli": 14,
    "arguments": 13,
    "commands": 13,
    "actions": 13,
    "api": 13,
    "progress": 12,
    "console": 11,
    "tables": 10,
    "targets": 10,
    "verify": 8,
    "provenance": 4,
    "batch": 10,
    "tally": 9,
    "plan": 9,
    "tasks": 8,
    "run": 7,
    "info": 7,
    "augment": 6,
    "pieces": 5,
    "application": 4,
    "discover": 2,
    "journal": 2,
    "engines": 3,
    "processes": 2,
    "cores": 1,
    "work": 1,
    "signals": 1,
    "dropout": 3,
    "report": 4,
    "formats": 6,
    "formats.concatenation": 5,
    "formats.conversion": 5,
    "formats.derived": 3,
    "formats.safetensors": 4,
    "formats.pt": 4,
    "formats.legacy": 4,
    "formats.archives": 3,
    "formats.objects": 3,
    "formats.overlaps": 3,
    "formats.globals": 3,
    "formats.torch_dtypes": 0,
    "formats.pickles": 2,
    "options": 2,
    "kernels": 3,
    "encodings": 2,
    "wrappers": 1,
    "masks": 3,
    "groups": 3,
    "torch_masks": 3,
    "decisions": 2,
    "combinations": 2,
    "chances": 1,
    "words": 0,
    "ranges": 0,
    "over": 1,
    "stats": 1,
    "tensors": 1,
    "reader": 1,
    "atomic": 3,
    "commit": 2,
    "temporaries": 0,
    "layouts": 0,
    "text": 0,
    "kinds": 1,
    "errors": 0,
}
ONLY: dict[str, set[str]] = {
    "typer": {"cli", "arguments", "commands"},
    "rich": {"console", "progress", "tables"},
    "torch": {"formats.legacy", "torch_masks"},
    "cryptography": {"words"},
}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    del found["__init__"]
    return found


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports when it runs; what only type checkers see is left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_file_has_a_floor() -> None:
    assert set(modules()) == set(FLOORS)


@pytest.mark.parametrize("module", FLOORS)
def test_arrows_run_down(module: str) -> None:
    for name in imports(modules()[module]):
        if name.startswith("dropcli."):
            rooms = [room for room in FLOORS if f"{name}.".startswith(f"dropcli.{room}.")]
            if rooms:
                assert FLOORS[max(rooms, key=len)] < FLOORS[module], name


@pytest.mark.parametrize("library", ONLY)
def test_libraries_have_their_rooms(library: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users == ONLY[library]


def test_the_public_door_is_what_it_says() -> None:
    assert {"apply", "drop", "keep_mask", "DropcliError"} < set(dropcli.__all__)
    assert all(hasattr(dropcli, name) for name in dropcli.__all__)
    with pytest.raises(AttributeError):
        dropcli.nothing  # noqa: B018
