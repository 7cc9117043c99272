"""The layers: which package may import which, where libraries are imported, sizes of files.

Imports run down between packages, never up or along a row, and only to a package's entry point.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dropcli

PACKAGE = Path(dropcli.__file__).parent
TESTS = Path(__file__).parent
ROWS = (
    {"", "__main__"},
    {"api", "cli"},
    {"arrays"},
    {"dataset"},
    {"contents"},
    {"report"},
    {"samples"},
    {"pipeline"},
    {"formats"},
    {"masks", "files"},
    {"dropout", "native", "parallel"},
    {"tensors"},
    {"errors", "__version__"},
)
LAYER = {name: -number for number, row in enumerate(ROWS) for name in row}
ONLY = {
    "typer": {"cli.app", "cli.commands.help", "cli.options", "cli.parsing"},
    "rich": {"cli.terminal.console", "cli.terminal.progress"},
    "torch": {"masks.torch_rng"},
    "cryptography": {"masks.keystream"},
    "obstore": {"files.stores.client"},
    "boto3": {"files.stores.client"},
    "hatchling": {"native.build"},
    "jinja2": {"report.page"},
    "matplotlib": {"report.figure"},
    "PIL": {"samples.sheet"},
    "distributed": {"parallel.cluster"},
}
MAX_LINES = 300
LONG = {"formats.pt.unpickle"}  # the opcodes of pickles are one table
MAX_FILES, MAX_MODULES = 12, 7


@cache
def modules() -> dict[str, Path]:
    """Every module by its name below the package, which is "" itself."""
    names = {
        path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")
    }
    return {".".join(name).removesuffix("__init__").rstrip("."): p for p, name in names.items()}


def imports(path: Path, *, typed: bool = False) -> Iterator[str]:
    """What a file imports when it runs, by full names; `typed`: and what type checkers see."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typed:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imports(modules()[module]):
        if name.startswith("dropcli."):
            below = name.removeprefix("dropcli.")
            while below not in modules():
                below = below.rpartition(".")[0]
            found.add(below)
    return found


def package_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_a_row() -> None:
    assert {package_of(module) for module in modules()} == set(LAYER)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_run_down(module: str) -> None:
    for other in own_imports(module) - {module}:
        if package_of(other) != package_of(module):
            assert LAYER[package_of(other)] < LAYER[package_of(module)], other


@cache
def public_names_of(package: str) -> set[str]:
    """The public names of an entry point."""
    names = set()
    for node in ast.walk(ast.parse(modules()[package].read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if name[0] != "_" or name[:2] == "__"}


@pytest.mark.parametrize("module", sorted(modules()))
def test_others_are_imported_by_their_entry_points(module: str) -> None:
    for name in imports(modules()[module], typed=True):
        top, _, below = name.partition(".")
        package, _, rest = below.partition(".")
        if top == "dropcli" and package in modules() and package != package_of(module):
            assert rest in public_names_of(package), name


@pytest.mark.parametrize("package", sorted(LAYER))
def test_no_cycle_within_a_package(package: str) -> None:
    rest = {m: own_imports(m) - {m} for m in modules() if package_of(m) == package}
    while free := {module for module, others in rest.items() if not others & rest.keys()}:
        rest = {module: others for module, others in rest.items() if module not in free}
    assert not rest


@pytest.mark.parametrize("library", ONLY)
def test_libraries_have_their_modules(library: str) -> None:
    users = {m for m, p in modules().items() if library in {n.split(".")[0] for n in imports(p)}}
    assert users == ONLY[library]


def test_sizes() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in modules().items()}
    assert {module for module in lines if lines[module] > MAX_LINES} == LONG
    for folder in {path.parent for path in modules().values()}:
        most = MAX_MODULES if folder == PACKAGE else MAX_FILES
        assert len(list(folder.glob("*.py"))) <= most, folder


def test_no_test_imports_another() -> None:
    """Shared code is in builders.py, oracle.py and conftest.py."""
    for path in TESTS.rglob("*.py"):
        for name in imports(path):
            assert ".test_" not in name, path


def test_tests_use_no_private_names() -> None:
    for path in TESTS.rglob("*.py"):
        own = {name for name in imports(path) if name.startswith("dropcli.")}
        assert not [name for name in own if "._" in name.replace(".__", ".")], path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
                assert not ast.unparse(node.args[0]).lstrip("'").startswith("dropcli"), path


@pytest.mark.parametrize("oracle", ["oracle.py", "fuzz/oracles.py", "fuzz/inert.py"])
def test_oracles_use_nothing_of_the_package(oracle: str) -> None:
    assert not [name for name in imports(TESTS / oracle) if name.startswith("dropcli")]


def test_the_public_names() -> None:
    assert {"apply", "drop", "keep_mask", "DropcliError"} < set(dropcli.__all__)
    assert all(hasattr(dropcli, name) for name in dropcli.__all__)
    with pytest.raises(AttributeError):
        dropcli.nothing  # noqa: B018
