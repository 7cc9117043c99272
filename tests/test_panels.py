"""The help of commands, its colours, and completion."""

import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Run, shell, wholly_on_terminal

COMMANDS = ("apply", "diff", "info", "mask", "preview", "verify")
PANELS = {
    "What to drop": "--p --p-per --mode --over --key --exclude --all-floats --exact --min-keep "
    "--like",
    "Values": "--rescale --fill --alpha --eval",
    "Randomness": "--seed --stream --rng",
    "Output": "--output --in-place --force --copies --keep-original --concat --copy-others "
    "--provenance --sync",
    "Many files": "--files-from --null --jobs --resume --fail-fast --shard --engine --scheduler",
    "Report": "--stats --json --dry-run --quiet --verbose --color",
}
ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def shown_on_terminal(*arguments: str, **variables: str) -> str:
    """What a terminal gets from both standard streams."""
    _, shown = wholly_on_terminal(*arguments, **variables)
    return shown.decode().replace("\r\n", "\n")


def panels(text: str) -> dict[str, str]:
    """The texts below the headings of a help page."""
    parts = re.split(r"^(\S[^\n]*):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_options_are_in_panels(run: Run) -> None:
    found = panels(run("apply", "--help").out)
    assert list(found) == ["Examples", "Arguments", *PANELS, "Options"]
    for title, names in PANELS.items():
        options = re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", found[title], re.MULTILINE)
        assert options == names.split()


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("command", [(), *[(name,) for name in COMMANDS]])
def test_help_is_whole_at_any_width(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    whole = run(*command, "--help").out
    monkeypatch.setenv("COLUMNS", str(columns))
    text = run(*command, "--help").out
    assert max(map(len, text.splitlines())) <= columns
    assert text.replace("\\\n", "").split() == whole.replace("\\\n", "").split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_no_types_and_shows_defaults(run: Run, command: str) -> None:
    text = run(command, "--help").out
    assert not re.search(r"[<\[](list|str|int|float|bool|text|integer)\b", text, re.IGNORECASE)
    assert f"Usage: dropcli {command} [OPTIONS] " in text
    assert "[default: auto]" in text
    defaults = re.findall(r"\[default: ([^]]*)\]", " ".join(run("apply", "--help").out.split()))
    for default in ("0.5", "file", "element", "--rescale", "dropcli", "0", "one per core"):
        assert default in defaults


def test_help_is_quick_to_load() -> None:
    code = "import sys; from dropcli.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "numpy", "torch", "pydantic"} & set(done.stdout.split())


def test_help_has_colour_only_on_terminals() -> None:
    for arguments in (("--help",), ("apply", "-h"), ()):
        plain = shell(f"dropcli {' '.join(arguments)} 2>&1").stdout.decode()
        assert ESCAPE not in plain
        coloured = shown_on_terminal(*arguments)
        assert f"{ESCAPE}[1;32mUsage:{ESCAPE}[0m" in coloured
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert f"{ESCAPE}[36m-h, --help{ESCAPE}[0m" in shown_on_terminal("--help")


ERROR, HINT = f"{ESCAPE}[1;31merror:{ESCAPE}[0m ", f"{ESCAPE}[36mhint:{ESCAPE}[0m "
WARNING = f"{ESCAPE}[35mwarning:{ESCAPE}[0m "


def test_errors_hints_and_warnings_have_colour() -> None:
    shown = shown_on_terminal("apply", "--prob", "0.3")
    assert shown == f"{ERROR}no such option: --prob\n{HINT}use -p 0.3\n"
    save_file({"x": torch.ones(4, 4), "label": torch.ones(4)}, "x.safetensors")
    assert WARNING in shown_on_terminal("apply", "x.safetensors", "-o", "y.safetensors")


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_errors_keep_words_whole_on_terminals_and_hints_can_be_copied(columns: int) -> None:
    words = ("apply", "x.safetensors", "-o", "y.pt", "--over", "0.3000000000000004")
    error = (
        "error: --over: '0.3000000000000004' is not a list of dimensions, such as 0,1 or 0,2:8,3:8"
    )
    shown = shown_on_terminal(*words, "--color", "never", COLUMNS=str(columns))
    assert " ".join(shown.split()) == error
    assert max(map(len, shown.splitlines())) <= columns
    assert shell(f"dropcli {' '.join(words)}").stderr.decode() == f"{error}\n"
    shown = shown_on_terminal("verify", "y" * 50, "x.pt", NO_COLOR="1", COLUMNS=str(columns))
    assert f"\nhint: dropcli verify {'y' * 50} --source x.pt\n" in shown


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ((), {"NO_COLOR": "1"}),
        ((), {"NO_COLOR": "1", "FORCE_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
        (("--color", "never"), {}),
        (("--color=never",), {"FORCE_COLOR": "1"}),
    ],
)
def test_colour_can_be_turned_off(arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    for command in (("apply", "--zzz"), ("apply", "--help"), ("info", "missing")):
        assert ESCAPE not in shown_on_terminal(*command, *arguments, **variables)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ((), {"NO_COLOR": "", "TERM": "xterm"}),
        ((), {"FORCE_COLOR": "1", "TERM": "dumb"}),
        (("--color", "always"), {"NO_COLOR": "1"}),
        (("--color=always",), {"TERM": "dumb"}),
    ],
)
def test_colour_can_be_turned_on(arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    assert ERROR in shown_on_terminal("apply", "--zzz", *arguments, **variables)
    assert ESCAPE in shown_on_terminal("apply", "--help", *arguments, **variables)


def test_colour_always_goes_into_pipes(run: Run) -> None:
    save_file({"x": torch.ones(4, 4)}, "x.safetensors")
    always = ("--color", "always")
    apply = ("apply", "x.safetensors", "-fo", "y.safetensors", "--seed", 1)
    for command in (apply, ("info", "x.safetensors"), ("apply", "--help"), ("--help",)):
        coloured, plain = run(*command, *always).out, run(*command).out
        assert ESCAPE in coloured
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert run("info", "missing", *always).err.startswith(ERROR)
    assert run(*apply, *always, "--json").json["status"] == "success"
    assert ESCAPE not in run(*apply, "--json", *always).out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("apply --mode ", "element channel pixel sample feature patch:8"),
        ("apply --mode p", "pixel patch:8"),
        ("apply --rng ", "dropcli torch"),
        ("apply --p-per ", "file sample"),
        ("apply --color ", "auto always never"),
        ("info --color ", "auto always never"),
        ("--color ", "auto always never"),
        ("ver", "verify"),
        ("help re", "recipes report"),
    ],
)
def test_choices_complete(words: str, completed: str) -> None:
    line = f"dropcli {words}"
    done = shell(
        "dropcli",
        _DROPCLI_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert done.stdout.decode().split() == completed.split()
