"""The sides that are compared: dropcli, and other tools."""

from tests.benchmarks.data import Recipe
from tests.benchmarks.work import Side

P = 0.3
GUESTS = {"albumentations", "imgaug"}  # not dependencies of dropcli

# What each peer does not do, which must be known to read its ratio.
MISSING = {
    "cp": "drops nothing, counts nothing, does not wait for the disk",
    "cp, sync": "drops nothing, counts nothing",
    "cat": "drops nothing, counts nothing",
    "torch": "no statistics, no provenance, no checks; all in memory; other masks with another "
    "version; half a file if it dies; does not wait for the disk",
    "import torch": "does nothing else; this is a part of every line of torch",
    "numpy": "as torch; one image after the other",
    "albumentations": "as torch; one image after the other; no rescaling; always one channel of "
    "three; blocks that overlap",
    "imgaug": "as torch; one image after the other; no rescaling; needs numpy 1",
    "typer, rich": "imports the two libraries, does nothing",
    "F.dropout": "other masks with another version, and in another order",
    "-j 1": "is dropcli with one worker",
    "1,000 files": "is dropcli; both times are divided by the number of files",
}


def ours(data: Recipe, *options: str, p: float = P, units: int = 1, out: str = "{out}") -> Side:
    """The command as users write it, with statistics and the table."""
    words = ("dropcli", "apply", "{data}", "-o", out, "-p", str(p), "--seed", "7", *options)
    return Side("dropcli", words, data, units)


def script(name: str, data: Recipe, *options: str) -> Side:
    """One of the scripts in `peers`; the first word of its name is that of the peer."""
    words = ("{python}", f"{{peers}}/{name}.py", "{data}", "{out}", str(P), *options)
    who = name.split("_")[0]
    return Side(who, words, data, needs=who if who in GUESTS else "")


def sample(who: str, which: str) -> Side:
    """Samples of a training loop, dropped one by one."""
    words = ("{python}", "{peers}/torch_sample.py", "{out}", str(P), which)
    return Side(who, words, units=1, timed=True)


def cp(data: Recipe) -> Side:
    """A plain copy."""
    return Side("cp", ("cp", "{data}", "{out}"), data)


def cp_sync(data: Recipe) -> Side:
    """A copy that is synced to the disk."""
    return _shell("cp, sync", 'cp "$1" "$2" && sync "$2"', data)


def piped(data: Recipe) -> Side:
    """The command between two others in a pipe."""
    command = f'cat "$1" | dropcli apply - -o - -p {P} --seed 7 | cat > "$2"'
    return _shell("dropcli", command, data)


def cat(data: Recipe) -> Side:
    """The two others without the command."""
    return _shell("cat", 'cat "$1" | cat > "$2"', data)


def one_worker(data: Recipe) -> Side:
    """The command with one worker."""
    return named("-j 1", ours(data, "-j", "1"))


def named(who: str, side: Side) -> Side:
    """The side with another name, as the peer of another side."""
    return Side(who, side.words, side.data, side.units, side.needs)


IMPORT_TORCH = Side("import torch", ("{python}", "-c", "import torch"))
HELP = Side("dropcli", ("dropcli", "--help"))
IMPORT_TYPER = Side("typer, rich", ("{python}", "-c", "import typer, rich"))


def _shell(who: str, command: str, data: Recipe) -> Side:
    return Side(who, ("sh", "-c", command, "sh", "{data}", "{out}"), data)
