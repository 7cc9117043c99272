"""Odd terminals, closed streams, full devices, and names with escape codes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.builders import pack, sparse
from tests.conftest import Run, shell
from tests.refusal import check_refusal, snapshot

NAMES = (
    *("\x1b[2J\x1b]0;title\x07", "[bold]x[/bold]", "[/]", "a\nb\rc", "\u202egnp.exe", "\0"),
    *("\x9b31m", "\u2028", "\u200b", "ok", "n" * (1 << 20)),
)
FILE = "[red]\x1b[31m\u202e\n\x9b.safetensors"
# Escape codes for cursor and colour that rich sends; no others are allowed.
CONTROLS = re.compile(rb"\x1b\[[0-9;]*[mK]|\x1b\[[0-9]*A|\x1b\[\?25[lh]")


@pytest.fixture
def hostile() -> None:
    """Files whose names and tensors are hostile, in both formats, and a damaged one."""
    tensors = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * number, 8 * number + 8]}
        for number, name in enumerate(NAMES)
    }
    metadata = {"__metadata__": {"\x1b[5m": "\x1b[6m[blink]"}}
    os.mkdir("data")
    Path("data", FILE).write_bytes(pack({**metadata, **tensors}, bytes(8 * len(NAMES))))
    torch.save({name: torch.ones(2) for name in NAMES}, f"data/{FILE}.pt")
    Path(f"data/bad{FILE}").write_bytes(b"damaged")


COMMANDS = {
    "apply data -o out --seed 1": 3,
    "apply data -o out2 --seed 1 -v -j 2": 3,
    "apply data/[[]red*ors -o y.safetensors --seed 1 -v": 0,
    "apply data/*pt -o y.pt --seed 1 -v": 0,
    "info data/*": 3,
    "info -v data/*pt": 0,
    "apply data/*pt -fo y.pt -k $'\\e[2Jno'": 1,
    "apply data/bad* -o $'\\e[2J.pt'": 1,
    "apply $'no\\e[31m\\n' -o y": 1,
    "apply x --seed $'\\e[2J'": 2,
    "$'\\e[2J'": 2,
    "verify y.pt --source data/bad*": 1,
    "--help": 0,
}
ENVIRONMENTS = (
    {"COLUMNS": "20"},
    {"COLUMNS": "x", "TERMINAL_WIDTH": "80", "LINES": "-1"},
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "cp1252", "TERM": "dumb"},
    {"NO_COLOR": "1", "FORCE_COLOR": "1", "PY_COLORS": "1"},
    {"GITHUB_ACTIONS": "true", "CI": "true", "FORCE_COLOR": "3", "TTY_COMPATIBLE": "1"},
)


@pytest.mark.parametrize("variables", ENVIRONMENTS, ids=str)
def test_e06_e07_nothing_hostile_leaves_a_pipe(hostile: None, variables: dict[str, str]) -> None:
    some = ("apply data -o out --seed 1", "info data/*", "apply data/*pt -fo y.pt -k $'\\e[2Jno'")
    lines = [f"dropcli {command}; echo code $?" for command in some]
    done = shell("\n".join(lines), **variables)
    codes = [int(line[5:]) for line in done.stdout.splitlines() if line.startswith(b"code ")]
    assert codes == [COMMANDS[command] for command in some]
    shown = (done.stdout + done.stderr).decode("ascii" if "LC_ALL" in variables else "utf-8")
    assert "Traceback" not in shown
    assert all(char.isprintable() for char in shown.replace("\n", ""))
    assert max(map(len, shown.splitlines())) < 5000


def on_terminal(command: str, keys: bytes = b"", /, **variables: str) -> tuple[int, bytes]:
    """The exit code and all output of a command with its own terminal.

    The keys are sent when there is output.
    """
    pid, ours = pty.fork()
    if pid == 0:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "TERM": "xterm-256color", "PATH": path, **variables}
        os.execvpe("bash", ["bash", "-c", f"exec {command}"], environment)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            if keys:
                os.write(ours, keys)
                keys = b""
            shown += data
    except OSError:  # the other side of the terminal is closed
        pass
    _, status = os.waitpid(pid, 0)
    os.close(ours)
    return os.waitstatus_to_exitcode(status), shown


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_hostile_reaches_a_terminal(hostile: None, command: str) -> None:
    if command.startswith("verify"):
        Path("y.pt").write_bytes(Path("data", f"{FILE}.pt").read_bytes())
    code, shown = on_terminal(f"dropcli {command}")
    assert code == COMMANDS[command]
    plain = CONTROLS.sub(b"", shown).decode()
    assert "Traceback" not in plain
    assert all(char.isprintable() for char in plain.replace("\r\n", "").replace("\r", ""))


@pytest.mark.parametrize(
    ("variables", "pattern"),
    [({"TERM": "dumb"}, rb"\x1b"), ({"NO_COLOR": "1"}, rb"\x1b\[[0-9;]*3[0-9]m")],
    ids=str,
)
def test_terminals_without_escape_codes(
    hostile: None, variables: dict[str, str], pattern: bytes
) -> None:
    for command in ("info data/*", "apply data -fo out --seed 1", "apply --nonsense", "--help"):
        _, shown = on_terminal(f"dropcli {command}", **variables)
        assert shown
        assert not re.search(pattern, shown)


@pytest.mark.parametrize("columns", ["20", "1"])
def test_terminals_of_any_width(hostile: None, columns: str) -> None:
    code, shown = on_terminal("dropcli apply data/*pt -o y.pt --seed 1", COLUMNS=columns)
    assert code == 0
    assert b"[bold]x[/bold]"[:4] in shown


def test_ctrl_c_at_a_terminal_gives_the_cursor_back() -> None:
    count = 400_000_000
    header = '{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}'
    sparse("x.safetensors", header % (count, 4 * count), 4 * count)
    code, shown = on_terminal("dropcli apply x.safetensors -o y.safetensors", b"\x03")
    assert code == 130
    assert b"interrupted; nothing half-written is left" in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")
    assert os.listdir() == ["x.safetensors"]


def test_tensors_are_not_written_to_a_terminal() -> None:
    save_file({"x": torch.ones(3)}, "x.safetensors")
    code, shown = on_terminal("dropcli apply x.safetensors -o -")
    assert code == 2
    assert b" -o -: " in shown


CLOSED = {
    "apply x.safetensors -fo y.safetensors": {">&-": 1, "2>&-": 0, "<&-": 0, ">/dev/full": 1},
    "apply x.safetensors -fqo y.safetensors": {">&- 2>&- <&-": 0, ">/dev/full 2>/dev/full": 0},
    "apply x.safetensors -o -": {">&-": 2, "2>&-": 0, "2>/dev/full": 0, ">/dev/full": 1},
    "apply - -fo y.safetensors": {"<&-": 1},
    "info x.safetensors --json": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "info x.safetensors --stats": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "diff x.safetensors other.safetensors": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "preview x.safetensors": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "preview x.safetensors -o sheet.html": {">&-": 1, ">/dev/full": 1, "2>&-": 0},
    "mask x.safetensors -fo y.safetensors": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "mask x.safetensors -o -": {">&-": 2, "2>&-": 0, ">/dev/full": 1},
    "--help": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "apply --help": {">&-": 1, "2>&-": 0, ">/dev/full": 1},
    "apply": {">&-": 2, "2>/dev/full": 2},
    "apply missing -o y.pt": {">&-": 1, "2>&-": 1, ">&- 2>&- <&-": 1},
    "apply . -fo out": {">&-": 1, "2>/dev/full": 0, ">/dev/full": 1},
    "apply . -fqo out -j 2": {">&- 2>&- <&-": 0},
}


@pytest.mark.parametrize("command", CLOSED)
def test_e01_closed_and_full_streams_have_their_exit_codes(command: str) -> None:
    save_file({"x": torch.ones(300)}, "x.safetensors")
    save_file({"x": torch.ones(300)}, "other.safetensors")
    before = Path("x.safetensors").read_bytes()
    for redirection, code in CLOSED[command].items():
        # If it is open, standard output is a pipe, and tensors may go there.
        done = shell(f"dropcli {command} </dev/null {redirection}")
        assert done.returncode == code, redirection
        assert b"Traceback" not in done.stderr + done.stdout
        assert done.stderr.count(b"error: ") == (1 if code and "2>" not in redirection else 0)
        assert not (code and Path("sheet.html").exists())
    assert Path("x.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        "info -v x.safetensors",
        "info --json x.safetensors",
        "info --stats -v x.safetensors",
        "preview -v x.safetensors",
        "diff -v x.safetensors data/x.safetensors",
        "mask x.safetensors -vfo y.safetensors",
        "apply x.safetensors -fvo y.safetensors",
        "apply x.safetensors -fo y.safetensors --json",
        "apply x.safetensors -o - -q",
        "apply data -fo out -v",
    ],
)
def test_e01_a_reader_that_has_seen_enough(command: str) -> None:
    save_file({f"{number}": torch.ones(10) for number in range(500)}, "x.safetensors")
    os.mkdir("data")
    os.link("x.safetensors", "data/x.safetensors")
    # `true` ends long before there is output; `head -1` might read all of it.
    done = shell(f"dropcli {command} 2>errors | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == b"141\n"
    assert not re.search(rb"Traceback|error", Path("errors").read_bytes())
    assert not list(Path().rglob(".*.tmp"))


def test_full_devices_as_outputs(run: Run) -> None:
    save_file({"x": torch.ones(300)}, "x.safetensors")
    before = snapshot()
    result = run("apply", "x.safetensors", "-o", "/dev/full")
    refusal = check_refusal(before, 1, result.code, result.out, result.err)
    assert refusal.line == "/dev/full: no space left on device"
    for suffix in ("json", "jsonl", "csv"):
        os.symlink("/dev/full", f"s.{suffix}")
        words = ("apply", "x.safetensors", "-fo", "y.safetensors", "--stats", f"s.{suffix}")
        result = run(*words)
        assert (result.code, result.out) == (1, "")
        assert result.err == f"error: s.{suffix}: no space left on device\n"
        assert os.readlink(f"s.{suffix}") == "/dev/full"
    before = snapshot()
    done = shell("dropcli apply x.safetensors -o - > /dev/full")
    check_refusal(before, 1, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_names_are_exact_in_json(hostile: None, run: Run) -> None:
    for source in (FILE, f"{FILE}.pt"):
        result = run(
            "apply", f"data/{source}", "-o", "y/", "-f", "--json", "--stats", "s.csv", "-f"
        )
        (file,) = result.json["files"]
        assert file["source"] == f"data/{source}"
        assert {tensor["name"] for tensor in file["tensors"]} == {*NAMES}
    document = json.loads(shell("dropcli info --json data/bad* 2>/dev/null").stdout)
    assert document["errors"][0]["source"] == f"data/bad{FILE}"


def test_windows_is_one_line() -> None:
    """Modules that Windows lacks are removed too: they must not be imported."""
    code = (
        "import os, signal, sys; os.name = 'nt';"
        "del os.O_CLOEXEC, os.preadv, signal.SIGHUP, signal.pthread_sigmask;"
        "sys.modules['fcntl'] = None;"
        "from dropcli.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "error: Windows is not supported; use WSL\n"
    assert (done.returncode, done.stdout) == (1, "")
