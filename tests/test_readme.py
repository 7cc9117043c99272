"""The README says what is so."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dropcli.cli.app import app
from tests.conftest import shell
from tests.readme import README, ROOT, sh_commands, with_real_output


def test_outputs_are_current(tmp_path: Path) -> None:
    """If this fails, run `python -m tests.readme` and look at the difference."""
    assert README.read_text() == with_real_output(README.read_text(), tmp_path)


def test_one_liners_run(tmp_path: Path) -> None:
    commands = list(sh_commands(README.read_text()))
    if not shutil.which("jq"):
        commands = [command for command in commands if "jq" not in command]
    shutil.copy(ROOT / "examples" / "digits.safetensors", tmp_path)
    assert len(commands) >= 9
    for command in commands:
        done = shell(f"set -o pipefail; {command}")
        assert done.returncode == 0, done.stderr


def test_the_document_has_the_shape_and_the_numbers_shown(tmp_path: Path) -> None:
    block = re.search(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    assert block
    shutil.copy(ROOT / "examples" / "digits.safetensors", tmp_path)
    command = "dropcli apply digits.safetensors -o dropped.safetensors -p 0.3 --seed 7 --json"
    shown, real = json.loads(block[1]), json.loads(shell(command).stdout)
    del real["files"][0]["tensors"][0]  # the labels, which the README leaves out
    assert leaves(shown).keys() == leaves(real).keys()
    for path, value in leaves(shown).items():
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


def test_the_tests_it_names_are_there() -> None:
    named = re.findall(r"`([a-z_/]+\.(?:py|md))(?:::([a-z_0-9]+))?`", README.read_text())
    assert len(named) >= 12
    for path, test in named:
        places = [folder / path for folder in (ROOT / "tests", ROOT / "tests" / "catalogue", ROOT)]
        (found, *_) = [place for place in places if place.exists()]
        assert f"def {test}(" in found.read_text() or not test


def test_it_is_short_and_names_every_command() -> None:
    text = README.read_text()
    assert len(text.splitlines()) < 300
    for command in app.registered_commands:
        assert f"dropcli {command.name}" in text


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_run(path: Path) -> None:
    if "sklearn" in path.read_text():
        pytest.importorskip("sklearn")
    done = shell(f"python {path} made.safetensors")
    assert done.returncode == 0, done.stderr
    if path.name == "make_digits.py":
        committed = ROOT / "examples" / "digits.safetensors"
        assert Path("made.safetensors").read_bytes() == committed.read_bytes()


def test_no_path_of_a_machine_is_in_the_examples() -> None:
    for path in [README, *(ROOT / "examples").glob("*.py")]:
        assert not re.search(r"/(home|root|Users|work)/", path.read_text())
