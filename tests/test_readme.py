"""The README and the guide are correct."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dropcli.cli.app import app
from tests import oracle
from tests.conftest import shell
from tests.readme import GUIDE, PAGES, README, ROOT, blocks, with_real_output

KINDS = {"sh", "console", "python", "json", "text", "sh no-run"}
NOT_RUN = {
    "README.md": 1,
    "performance.md": 1,
    "recipes.md": 2,
    "clusters.md": 3,
    "stores.md": 2,
}  # blocks that are only shown


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_its_commands_run_and_their_output_is_current(page: Path, tmp_path: Path) -> None:
    """If the output differs, run `python -m tests.readme` and look at the difference."""
    assert page.read_text() == with_real_output(page.read_text(), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_only_marked_commands_are_not_run(page: Path) -> None:
    text = page.read_text()
    found = [*blocks(text)]
    assert text.count("```") == 2 * len(found)
    assert {kind for kind, _ in found} <= KINDS
    assert sum(kind == "sh no-run" for kind, _ in found) == NOT_RUN.get(page.name, 0)
    shown = "".join(content for kind, content in found if kind in ("json", "text"))
    assert not re.search(r"^\$? *(dropcli|python|cat|find) ", shown, re.MULTILINE)


def test_the_set_up_commands_are_those_of_ci() -> None:
    """`.ci/run` runs them in a fresh clone."""
    indented = re.findall(r"^    (\w.*)", README.read_text(), re.MULTILINE)
    assert len(indented) == 2
    assert all(line.startswith("python3 -m venv .venv && ") for line in indented)


def test_the_document_has_the_shape_and_the_numbers_shown(tmp_path: Path) -> None:
    (shown,) = (text for kind, text in blocks((GUIDE / "report.md").read_text()) if kind == "json")
    shutil.copy(ROOT / "examples" / "digits.safetensors", tmp_path)
    command = "dropcli apply digits.safetensors -o dropped.safetensors -p 0.3 --seed 7 --json"
    expected, real = json.loads(shown), json.loads(shell(command).stdout)
    del real["files"][0]["tensors"][0]  # the labels, which the guide leaves out
    assert leaves(expected).keys() == leaves(real).keys()
    for path, value in leaves(expected).items():
        near = pytest.approx(value, rel=2e-3) if isinstance(value, float) else value
        assert leaves(real)[path] == near


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value in a document by its path."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in leaves(value[key], f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {
            k: v for i, item in enumerate(value) for k, v in leaves(item, f"{path}[{i}]").items()
        }
    return {path: value}


def test_the_vectors_of_the_guide() -> None:
    text = (GUIDE / "masks.md").read_text()
    names = r"^seed (\S+), stream (\S+), tensor (\S+), copy (\S+), p (\S+)\n"
    rows = re.findall(names + r" *key *(\w+)\n *bits *(\w+)", text, re.MULTILINE)
    assert len(rows) == 3
    for seed, stream, tensor, copy, p, key, bits in rows:
        assert oracle.key(int(seed), stream, tensor, int(copy)).hex() == key
        dropped = oracle.dropped((32,), float(p), bytes.fromhex(key))
        assert "".join("01"[int(drop)] for drop in dropped) == bits


def test_named_tests_exist() -> None:
    text = (GUIDE / "promises.md").read_text()
    named = re.findall(r"`([a-z_/]+\.(?:py|md))(?:::([a-z_0-9]+))?`", text)
    assert len(named) >= 12
    for path, test in named:
        found = (ROOT / "tests" / path).read_text()
        assert f"def {test}(" in found or not test


def test_it_is_short_and_names_every_command() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    for command in [each for each in app.registered_commands if not each.hidden]:
        assert f"dropcli {command.name}" in text


def test_it_links_to_every_page_and_all_links_exist() -> None:
    linked = set(re.findall(r"\]\(([^#)]+)\)", README.read_text()))
    assert {str(page.relative_to(ROOT)) for page in GUIDE.iterdir()} <= linked
    assert all((ROOT / path).exists() for path in linked)


@pytest.mark.parametrize(
    "name", ["make_digits.py digits.safetensors", "picture.py digits.svg"], ids=str.split
)
def test_files_in_examples_are_what_the_scripts_make(name: str, tmp_path: Path) -> None:
    script, made = name.split()
    if "sklearn" in (path := ROOT / "examples" / script).read_text():
        pytest.importorskip("sklearn")
    done = shell(f"python {path} {made}")
    assert done.returncode == 0, done.stderr
    assert Path(made).read_bytes() == (path.parent / made).read_bytes()


def test_every_example_is_run() -> None:
    """By the test above, or because a page shows its command."""
    text = "".join(page.read_text() for page in PAGES)
    for path in (ROOT / "examples").glob("*.py"):
        made = path.name in ("make_digits.py", "picture.py")
        assert made or f"python examples/{path.name}" in text


def test_no_local_path_is_in_them() -> None:
    for path in [*PAGES, *(ROOT / "examples").glob("*.py")]:
        assert not re.search(r"/(home|root|Users|work|tmp)/", path.read_text())
