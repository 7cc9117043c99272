"""The table of the catalogue is complete, and matches the tests."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
COUNTS = {"S": 45, "P": 52, "A": 25, "F": 24, "E": 17}
ROW = re.compile(r"\| ([SPAFE]\d\d) \| ([^|]+) \| ([^|]*)\| ([^|]*)\|")
NAME = re.compile(r"test((?:_[spafe]\d\d)+)_")
PARAMETER = re.compile(r"([SPAFE]\d\d) ")


def table() -> list[tuple[str, set[str], str]]:
    """Each row: its id, the tests that it names, and its remark."""
    lines = (HERE / "README.md").read_text().splitlines()
    rows = [ROW.fullmatch(line) for line in lines if re.match(r"\| [A-Z]\d", line)]
    assert all(rows)
    return [(row[1], set(re.findall("`([^`]+)`", row[3])), row[4]) for row in rows if row]


def ids_of_parameters(tree: ast.Module, function: ast.FunctionDef) -> Iterator[str]:
    """The ids that begin the keys of the tables that a test is run over."""
    used = {
        node.id
        for decorator in function.decorator_list
        for node in ast.walk(decorator)
        if isinstance(node, ast.Name)
    }
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id in used for target in targets):
            for key in (k for d in ast.walk(node) if isinstance(d, ast.Dict) for k in d.keys):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from PARAMETER.findall(key.value[:4])


def known_tests() -> dict[str, set[str]]:
    """Every test by its name in the table, and the ids in its name and parameters."""
    found = {}
    for path in HERE.parent.rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = NAME.match(node.name)
                ids = set(name[1].upper().split("_")[1:]) if name else set()
                ids |= {*ids_of_parameters(tree, node)}
                found[f"{path.relative_to(HERE.parent)}::{node.name}"] = ids
    return found


def test_every_case_is_in_the_table_once_in_order() -> None:
    expected = [f"{kind}{n:02}" for kind, count in COUNTS.items() for n in range(1, count + 1)]
    assert [case for case, _, _ in table()] == expected


def test_every_case_has_a_test_or_a_reason() -> None:
    for case, named, reason in table():
        other = re.match(r"See `([\w./]+)`", reason)
        assert named or reason.startswith("Cannot arise") or other, case
        assert not other or (HERE.parent / other[1]).exists()


def test_named_tests_exist_and_have_their_ids() -> None:
    known = known_tests()
    for case, named, _ in table():
        for test in named:
            assert case in known.get(test, ()), (case, test)


def test_tests_with_ids_are_in_the_table() -> None:
    rows = {case: named for case, named, _ in table()}
    # Tests that run the same cases a second time need no second mention.
    for test, ids in known_tests().items():
        for case in ids if NAME.match(test.partition("::")[2]) else ():
            assert test in rows[case], (case, test)
        assert ids <= rows.keys()
