"""Run the README and the guide: `python -m tests.readme` writes the real output into them.

The first line of a block gives its kind: `sh` and `python` are run, and so are the lines of a
`console` block after `$ `, whose output follows them. `sh no-run` needs other machines, services
or a network. The blocks of a page run in one folder, in order, beside the examples.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import shell

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDE = ROOT / "dropcli" / "guide"
PAGES = [README, *sorted(GUIDE.glob("*.md"))]
TOOLS = ("jq", "make")  # blocks that need a missing one are skipped

_BLOCK = re.compile(r"^```(\S.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The kind and the content of every block of code."""
    for match in _BLOCK.finditer(text):
        yield match[1], match[2]


def with_real_output(text: str, folder: Path) -> str:
    """Run all commands of the text; return the text with their current output.

    Raises:
        RuntimeError: a command failed.
    """
    shutil.copytree(ROOT / "examples", folder / "examples")

    def rerun(match: re.Match[str]) -> str:
        kind, content = match[1], match[2]
        if any(f"{tool} " in content and not shutil.which(tool) for tool in TOOLS):
            return match[0]
        if kind == "sh":
            _run(folder, f"set -euo pipefail\n{content}")
        elif kind == "python":
            (folder / "block.py").write_text(content)
            _run(folder, f"{sys.executable} block.py")
        elif kind == "console":
            commands = [line for line in content.splitlines() if line.startswith("$ ")]
            shown = [f"{command}\n{_run(folder, command[2:])}" for command in commands]
            return f"```console\n{''.join(shown)}```"
        return match[0]

    return _BLOCK.sub(rerun, text)


def _run(folder: Path, script: str) -> str:
    """What a script prints, without white space at the ends of lines."""
    done = shell(f"cd {folder}\n{script}", COLUMNS="100")
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stdout.decode()}{done.stderr.decode()}")
    lines = [line.rstrip() for line in done.stdout.decode().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


if __name__ == "__main__":
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(with_real_output(page.read_text(), Path(folder)))
