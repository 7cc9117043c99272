"""The README's examples, run: `python -m tests.readme` writes their real output into it.

In a `console` block every line after `$ ` is a command, and what follows is its output. In a `sh`
block every line is a command of which only success matters. All run in one folder, in order.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import shell

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)|(?<=```sh\n)(.*?)(?=```)", re.DOTALL)


def sh_commands(text: str) -> Iterator[str]:
    """The lines of the `sh` blocks."""
    for match in _BLOCK.finditer(text):
        yield from (match[2] or "").splitlines()


def make_digits_folder(folder: Path) -> None:
    """The digits, one file for each, as the example makes them."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import digits_folder as example, pathlib;"
    code += "example.make(pathlib.Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, ROOT / "examples", folder], check=True)


def with_real_output(text: str, folder: Path) -> str:
    """The text with the output of its `console` commands as they print it now."""
    shutil.copy(ROOT / "examples" / "digits.safetensors", folder)
    make_digits_folder(folder / "digits")

    def rerun(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        lines = []
        for line in match[1].splitlines():
            if line.startswith("$ "):
                done = shell(f"cd {folder}; {line[2:]}", COLUMNS="100")
                if done.returncode:
                    raise RuntimeError(f"{line}: {done.stderr.decode()}")
                output = "\n".join(part.rstrip() for part in done.stdout.decode().splitlines())
                lines += [line, output.strip("\n")]
        return "\n".join(lines) + "\n"

    return _BLOCK.sub(rerun, text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        README.write_text(with_real_output(README.read_text(), Path(folder)))
