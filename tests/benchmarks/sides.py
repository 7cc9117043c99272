"""Who does the work: dropcli, and what people use instead of it."""

from tests.benchmarks.data import Recipe
from tests.benchmarks.work import Side

P = 0.3
GUESTS = {"albumentations", "imgaug"}  # which are no dependencies of ours

# What each peer leaves out, without which a ratio would say more, or less, than it should.
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
    """Our command as people write it: statistics, table and all."""
    words = ("dropcli", "apply", "{data}", "-o", out, "-p", str(p), "--seed", "7", *options)
    return Side("dropcli", words, data, units)


def script(name: str, data: Recipe, *options: str) -> Side:
    """One of the scripts in `peers`; the first word of its name says who it is."""
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
    """A copy that is on the disk when it is done."""
    return _shell("cp, sync", 'cp "$1" "$2" && sync "$2"', data)


def piped(data: Recipe) -> Side:
    """Our command between two others."""
    command = f'cat "$1" | dropcli apply - -o - -p {P} --seed 7 | cat > "$2"'
    return _shell("dropcli", command, data)


def cat(data: Recipe) -> Side:
    """The two others alone."""
    return _shell("cat", 'cat "$1" | cat > "$2"', data)


def one_worker(data: Recipe) -> Side:
    """Our own command on one core."""
    return named("-j 1", ours(data, "-j", "1"))


def named(who: str, side: Side) -> Side:
    """The same, as the peer of another side."""
    return Side(who, side.words, side.data, side.units, side.needs)


IMPORT_TORCH = Side("import torch", ("{python}", "-c", "import torch"))
HELP = Side("dropcli", ("dropcli", "--help"))
IMPORT_TYPER = Side("typer, rich", ("{python}", "-c", "import typer, rich"))


def _shell(who: str, command: str, data: Recipe) -> Side:
    return Side(who, ("sh", "-c", command, "sh", "{data}", "{out}"), data)
