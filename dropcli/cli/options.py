"""The options and arguments of the commands, each once: names, help, parser, panel."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from dropcli.cli import values
from dropcli.cli.values import path

_DROP, _VALUES, _RANDOM = "What to drop", "Values", "Randomness"
_OUTPUT, _FILES, _REPORT = "Output", "Many files", "Report"
_INPUTS = ".safetensors and .pt files, folders, quoted globs, or - for standard input."


def _option(
    panel: str,
    names: str,
    text: str,
    parser: Callable[[Any], Any] | None = None,
    *,
    default: str | bool = True,
    words: Callable[[], Sequence[str]] | None = None,
) -> Any:
    """An option, by its names and what it takes: `-k --key GLOB`, `--rng dropcli|torch`.

    `default` is shown in the help, where True stands for the value itself. `words` complete.
    """
    flags = [name for name in names.split() if name.startswith("-")]
    metavar = names.split()[-1] if len(flags) < len(names.split()) else None
    if metavar and "|" in metavar:
        choices = metavar.split("|")
        parser, words = values.choice(flags[0], *choices), lambda: choices

    return typer.Option(
        *flags,
        metavar=metavar,
        help=text,
        parser=parser,
        show_default=default if metavar or isinstance(default, str) else False,
        rich_help_panel=panel,
        autocompletion=values.completion(words),
    )


def _argument(metavar: str, text: str, words: Callable[[], Sequence[str]] | None = None) -> Any:
    return typer.Argument(
        metavar=metavar,
        help=text,
        parser=path,
        show_default=False,
        autocompletion=values.completion(words),
    )


def _count(option: str, hint: str | None = None) -> Callable[[str | int], int]:
    return values.integer(option, 1, 10**9 - 1, "bad-count", hint)


Inputs = Annotated[list[str] | None, _argument("INPUT", _INPUTS)]
Files = Annotated[list[str], _argument("FILE", _INPUTS)]
Topic = Annotated[str | None, _argument("TOPIC", "Page of the guide, or a command.", values.topics)]
Outputs = Annotated[list[str], _argument("OUTPUT", "Files and folders to check.")]
Source = Annotated[
    str,
    _option(
        "Arguments", "--source INPUT", "The file or folder that the outputs were made from.", path
    ),
]

P = Annotated[
    Any,  # a number or a range, and typer knows no union
    _option(
        _DROP,
        "-p --p P",
        "Drop probability from 0 to 1. LOW:HIGH picks it at random from that range.",
        values.parse_p,
    ),
]
PPer = Annotated[
    str,
    _option(
        _DROP,
        "--p-per file|sample",
        "With -p LOW:HIGH, pick one p per file, or one per sample (index of dimension 0).",
    ),
]
Mode = Annotated[
    str | None,
    _option(
        _DROP,
        "--mode MODE",
        "What drops as one: element, channel (as nn.Dropout2d), pixel, sample, feature, or patch:S "
        "(squares of S x S pixels).",
        values.parse_mode,
        default="element",
        words=values.modes,
    ),
]
Dims = Annotated[
    str | None,
    _option(
        _DROP,
        "--over DIMS",
        "Dimensions with independent drop decisions; along all others, elements drop together. "
        "0 = whole samples, 0,1 = channels, 0,2:8,3:8 = 8x8 patches.",
        values.parse_over,
        default="all dimensions",
    ),
]
Key = Annotated[
    list[str] | None,
    _option(_DROP, "-k --key GLOB", "Drop only tensors whose name matches GLOB; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    _option(_DROP, "--exclude GLOB", "Copy tensors whose name matches GLOB; may be repeated."),
]
AllFloats = Annotated[
    bool,
    _option(
        _DROP,
        "--all-floats",
        "Drop every float tensor, even if it looks like labels or state.",
    ),
]
Exact = Annotated[
    bool,
    _option(
        _DROP,
        "--exact",
        "Drop exactly round(p * n) of the n slices along the last --over dimension, instead of "
        "each with probability p.",
    ),
]
MinKeep = Annotated[
    int | None,
    _option(
        _DROP,
        "--min-keep K",
        "Always keep at least K slices along the last --over dimension.",
        values.integer("--min-keep", 1, 10**18 - 1, "bad-min-keep"),
    ),
]

Rescale = Annotated[
    bool,
    _option(
        _VALUES,
        "--rescale/--no-rescale",
        "Multiply kept elements by 1/(1-p), as torch.nn.Dropout does, or leave them as they are.",
        default="--rescale",
    ),
]
Fill = Annotated[
    float | None,
    _option(_VALUES, "--fill V", "Value of dropped elements.", values.parse_fill, default="0"),
]
Alpha = Annotated[
    bool,
    _option(_VALUES, "--alpha", "Alpha dropout for SELU networks, as nn.AlphaDropout."),
]
Evaluation = Annotated[
    bool, _option(_VALUES, "--eval", "Evaluation mode: dropout is off and tensors are copied.")
]

Seed = Annotated[
    int | None,
    _option(
        _RANDOM,
        "--seed N",
        "Seed from 0 to 2**64-1; the same seed gives the same masks.",
        values.integer("--seed", 0, 2**64 - 1, "bad-seed", "leave --seed out for a random one"),
        default="drawn at random and shown",
    ),
]
Stream = Annotated[
    str | None,
    _option(
        _RANDOM,
        "--stream NAME",
        "Name that is mixed into the seed, so that each file gets its own mask.",
        values.not_empty("empty-stream", "--stream: the name is empty"),
        default="the file's path without its suffix",
    ),
]
Rng = Annotated[
    str,
    _option(
        _RANDOM,
        "--rng dropcli|torch",
        "Random masks: dropcli (the same on every machine) or torch (what torch.manual_seed(SEED) "
        "gives with the installed torch).",
    ),
]

Output = Annotated[
    str | None,
    _option(
        _OUTPUT,
        "-o --output OUTPUT",
        "Output file, folder (for several inputs), or - for standard output. A .pt or "
        ".safetensors suffix chooses the format.",
        values.output_path,
    ),
]
InPlace = Annotated[
    bool, _option(_OUTPUT, "--in-place", "Replace the input files, each atomically.")
]
Force = Annotated[bool, _option(_OUTPUT, "-f --force", "Replace output files that exist.")]
Copies = Annotated[
    int,
    _option(
        _OUTPUT,
        "--copies N",
        "Write N independent copies of each file: x.1.pt to x.N.pt.",
        _count("--copies"),
        default=False,
    ),
]
KeepOriginal = Annotated[
    bool, _option(_OUTPUT, "--keep-original", "With --copies, also write the input as copy 0.")
]
Concat = Annotated[
    bool, _option(_OUTPUT, "--concat", "With --copies, join them along dimension 0 of one file.")
]
CopyOthers = Annotated[
    bool, _option(_OUTPUT, "--copy-others", "Also copy the other files of input folders.")
]
Provenance = Annotated[
    bool,
    _option(
        _OUTPUT,
        "--provenance/--no-provenance",
        "Record the settings in the metadata of each output, or not.",
        default="--provenance",
    ),
]
Sync = Annotated[
    bool,
    _option(
        _OUTPUT, "--sync/--no-sync", "Wait until outputs are on the disk, or not.", default="--sync"
    ),
]

FilesFrom = Annotated[
    str | None,
    _option(
        _FILES,
        "--files-from FILE",
        "Read input paths from FILE (- for standard input), one per line.",
        path,
    ),
]
Null = Annotated[
    bool,
    _option(_FILES, "-0 --null", "Paths in --files-from end with NUL bytes (find -print0)."),
]
Jobs = Annotated[
    int,
    _option(
        _FILES,
        "-j --jobs N",
        "Number of worker processes.",
        _count("-j", "leave -j out for one worker per core"),
        default="one per core",
    ),
]
Resume = Annotated[bool, _option(_FILES, "--resume", "Continue a run; skip files that are done.")]
FailFast = Annotated[bool, _option(_FILES, "--fail-fast", "Stop at the first file that fails.")]

Stats = Annotated[
    str | None,
    _option(_REPORT, "--stats PATH", "Write statistics to a .json, .jsonl or .csv file.", path),
]
Json = Annotated[bool, _option(_REPORT, "--json", "Print the report as one JSON document.")]
DryRun = Annotated[
    bool, _option(_REPORT, "-n --dry-run", "Show what would be done, and write nothing.")
]
Quiet = Annotated[bool, _option(_REPORT, "-q --quiet", "Show errors only.")]
Verbose = Annotated[
    bool, _option(_REPORT, "-v --verbose", "Show all tensors and files, not only the first ten.")
]
Color = Annotated[
    str,
    _option(
        _REPORT,
        "--color auto|always|never",
        "Use colour on terminals (auto), everywhere, or nowhere.",
    ),
]
