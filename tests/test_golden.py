"""What this version writes, later versions write: tests/golden/hashes.txt."""

from dataclasses import fields

import pytest

from dropcli import Dropout
from tests.golden import cases


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    return cases.run_all()


def test_outputs_and_statistics_are_those_of_the_first_release(found: dict[str, str]) -> None:
    known = cases.known()
    assert {name for name in known if known[name] != found.get(name)} == set()
    assert {name for name in found if name not in known} == set()


def test_every_option_that_changes_bytes_has_a_hash() -> None:
    words = {word for command in cases.commands() for word in command}
    spelled = {"p": "-p", "seed": "--seed", "rescale": "--no-rescale", "key": "-k"}
    names = {field.name for field in fields(Dropout)}
    assert {spelled.get(n, f"--{n.replace('_', '-')}") for n in names} <= words
