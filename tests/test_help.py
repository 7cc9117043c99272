"""`dropcli help`: the guide, plain in a pipe, rendered on a terminal."""

import re
from pathlib import Path

import pytest

import dropcli
from tests.conftest import Run, wholly_on_terminal

PAGES = sorted((Path(dropcli.__file__).parent / "guide").iterdir())


def test_it_lists_the_topics(run: Run) -> None:
    done = run("help")
    assert done.code == 0
    lines = done.out.splitlines()
    for page in PAGES:
        summary = page.read_text().splitlines()[2]
        assert summary.endswith(".")
        assert f"{page.stem:<14}{summary}" in lines
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_plain_markdown_in_a_pipe(page: Path, run: Run) -> None:
    done = run("help", page.stem)
    assert (done.code, done.out, done.err) == (0, page.read_text(), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_a_title_and_code_that_fits_a_terminal(page: Path) -> None:
    text = page.read_text()
    assert re.match(r"# .+\n\n.+\.\n\n", text)
    for block in re.findall(r"^```.*\n((?:.*\n)*?)```$", text, re.MULTILINE):
        assert max(map(len, block.splitlines())) <= 78


def test_a_command_is_a_topic_too(run: Run) -> None:
    assert run("help", "info").out == run("info", "--help").out


def test_a_wrong_topic_is_one_line_with_the_nearest(run: Run) -> None:
    done = run("help", "recpes")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: help: there is no topic 'recpes'\nhint: did you mean recipes?\n"
    assert run("help", "zzz").err.endswith("hint: `dropcli help` lists the topics\n")


@pytest.mark.parametrize("columns", [60, 100])
def test_a_page_is_rendered_on_a_terminal(columns: int) -> None:
    code, shown = wholly_on_terminal("help", "exit-codes", COLUMNS=str(columns))
    assert code == 0
    assert b"\x1b[" in shown
    assert b"```" not in shown
    assert b"|---" not in shown
    assert b"interrupted by Ctrl-C or SIGTERM" in shown
