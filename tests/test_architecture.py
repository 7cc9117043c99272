"""The rooms: which file may import which, and who may import torch, typer and rich."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dropcli

PACKAGE = Path(dropcli.__file__).parent

# Arrows run down only: a file imports lower floors, never its own or above.
FLOORS = {
    "__main__": 17,
    "cli": 16,
    "cli.app": 15,
    "cli.commands": 14,
    "cli.commands.apply": 13,
    "cli.commands.info": 13,
    "cli.commands.verify": 13,
    "cli.parsing": 13,
    "cli.options": 3,
    "api": 13,
    "cli.progress": 12,
    "cli.console": 11,
    "cli.tables": 10,
    "dataset.request": 10,
    "dataset.verify": 8,
    "pipeline.provenance": 4,
    "dataset.run": 10,
    "dataset.tally": 9,
    "dataset.plan": 9,
    "dataset.tasks": 8,
    "pipeline.job": 7,
    "formats.info": 4.85,
    "pipeline.loop": 6,
    "pipeline.pieces": 5,
    "pipeline.recipe": 4,
    "dataset.discover": 2,
    "dataset.journal": 2,
    "parallel.engines": 3,
    "parallel.processes": 2,
    "parallel.threads": 1,
    "parallel.work": 1,
    "parallel.signals": 1,
    "dropout.settings": 3,
    "pipeline.report": 4,
    "formats": 4.9,
    "formats.detect": 4.8,
    "__version__": 0,
    "formats.concat": 4.4,
    "formats.convert": 4.5,
    "formats.base": 2.5,
    "formats.safetensors": 3,
    "formats.pt.source": 4,
    "formats.pt.legacy": 4,
    "formats.pt.archive": 3,
    "formats.pt.rebuild": 3,
    "formats.pt.overlaps": 3,
    "formats.pt.safe_globals": 3,
    "formats.pt.unpickle": 2,
    "cli.values": 2,
    "dropout.kernels": 3,
    "dropout.rounding": 2,
    "dropout.wrappers": 1,
    "masks.mask": 3,
    "masks.exact": 3,
    "masks.torch_rng": 3,
    "masks.decisions": 2,
    "dropout.combinations": 2,
    "masks.probability": 1,
    "masks.keystream": 0,
    "dropout.ranges": 0,
    "dropout.over": 1.1,
    "pipeline.stats": 1,
    "tensors": 1,
    "files.reader": 0.7,
    "files.publish": 1.4,
    "files.writer": 0.5,
    "files.temporary": 1.2,
    "layouts": 0,
    "cli.text": 0,
    "files.paths": 0.5,
    "errors": 0,
    "dataset": 0,
    "pipeline": 0,
    "masks": 0,
    "dropout": 0,
    "files": 1.6,
    "parallel": 0,
    "formats.pt": 4.3,
}
ONLY: dict[str, set[str]] = {
    "typer": {"cli.app", "cli.options", "cli.parsing"},
    "rich": {"cli.console", "cli.progress", "cli.tables"},
    "torch": {"formats.pt.legacy", "masks.torch_rng"},
    "cryptography": {"masks.keystream"},
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
