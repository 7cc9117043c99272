"""The options and arguments of the command line, each once: its names, its help, its parser."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dropcli.cli.values import (
    choice,
    integer,
    not_empty,
    parse_fill,
    parse_p,
    path,
)
from dropcli.dropout import Over


def _value(
    names: str,
    metavar: str,
    text: str,
    parser: Callable[[Any], Any] | None = None,
    *,
    show_default: bool = True,
) -> Any:
    """An option that takes a value."""
    return typer.Option(
        *names.split(), metavar=metavar, help=text, parser=parser, show_default=show_default
    )


def _flag(names: str, text: str) -> Any:
    return typer.Option(*names.split(), help=text, show_default=False)


def _count(option: str) -> Callable[[str | int], int]:
    return integer(option, "from 1 on", 1, 10**9 - 1, "bad-count")


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help=".safetensors and .pt files, folders, globs, or - for standard input.",
        parser=path,
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    _value(
        "-o --output",
        "OUTPUT",
        "A file, whose suffix may convert, a folder for several, or -.",
        path,
    ),
]
InPlace = Annotated[bool, _flag("--in-place", "Replace the inputs, atomically.")]
P = Annotated[
    Any,  # a number or a range, and typer knows no union
    _value("-p --p", "P", "The probability of dropping, 0 to 1; LOW:HIGH draws it.", parse_p),
]
PPer = Annotated[
    str,
    _value(
        "--p-per",
        "[file|sample]",
        "With -p LOW:HIGH, draw one p per file or one per sample.",
        choice("--p-per", "file", "sample"),
    ),
]
Seed = Annotated[
    int | None,
    _value(
        "--seed",
        "N",
        "0 to 2**64-1; drawn and shown if absent.",
        integer("--seed", f"from 0 to {2**64 - 1}", 0, 2**64 - 1),
    ),
]
Stream = Annotated[
    str | None,
    _value(
        "--stream",
        "NAME",
        "The name in the mask key; by default the file's without suffix.",
        not_empty("empty-stream", "--stream: expected a name"),
    ),
]
Mode = Annotated[
    str | None,
    _value(
        "--mode",
        "MODE",
        "What one decision covers: element (default), channel, pixel, sample, feature, or "
        "patch:S for square holes.",
    ),
]
Dims = Annotated[
    Over | None,
    _value(
        "--over",
        "DIMS",
        "Dimensions that decisions differ along: 0 or 0,2:8,3:8.",
        Over.parse,
    ),
]
Key = Annotated[
    list[str] | None,
    _value("-k --key", "GLOB", "Drop these tensors alone, whatever they look like; repeatable."),
]
Exclude = Annotated[
    list[str] | None, _value("--exclude", "GLOB", "Copy the tensors of this name; repeatable.")
]
AllFloats = Annotated[
    bool, _flag("--all-floats", "Drop every float tensor, also those that look like labels.")
]
Rescale = Annotated[
    bool, _flag("--rescale/--no-rescale", "Multiply what is kept by 1/(1-p) (default) or not.")
]
Fill = Annotated[
    float | None,
    _value("--fill", "V", "What dropped elements become, instead of 0.", parse_fill),
]
Alpha = Annotated[
    bool, _flag("--alpha", "As nn.AlphaDropout and nn.FeatureAlphaDropout, for SELU.")
]
Exact = Annotated[
    bool, _flag("--exact", "Drop round(p * n) of each n decisions along the last of --over.")
]
MinKeep = Annotated[
    int | None,
    _value(
        "--min-keep",
        "K",
        "Keep at least K of these n.",
        integer("--min-keep", "of 1 or more", 1, 10**18 - 1),
    ),
]
Rng = Annotated[
    str,
    _value(
        "--rng",
        "[dropcli|torch]",
        "Mask generator: dropcli (the same everywhere) or torch (as installed).",
        choice("--rng", "dropcli", "torch"),
    ),
]
Evaluation = Annotated[
    bool, _flag("--eval", "Evaluation mode: dropout is off, tensors are copied.")
]
Copies = Annotated[
    int,
    _value(
        "--copies",
        "N",
        "Write N independent copies of each file, x.1.pt to x.N.pt.",
        _count("--copies"),
        show_default=False,
    ),
]
KeepOriginal = Annotated[bool, _flag("--keep-original", "Write the untouched file too, as copy 0.")]
Concat = Annotated[bool, _flag("--concat", "Write all copies into one file, along dimension 0.")]
FilesFrom = Annotated[
    str | None,
    _value(
        "--files-from",
        "FILE",
        "Read the inputs from a file, one a line, or from -.",
        path,
    ),
]
Null = Annotated[bool, _flag("-0 --null", "They end with null bytes, as from find -print0.")]
CopyOthers = Annotated[bool, _flag("--copy-others", "Copy the other files of folders too.")]
Resume = Annotated[bool, _flag("--resume", "Go on with an interrupted run.")]
FailFast = Annotated[bool, _flag("--fail-fast", "Stop at the first file that fails.")]
Jobs = Annotated[
    int,
    _value(
        "-j --jobs",
        "N",
        "Worker processes; by default one for each core.",
        _count("--jobs"),
        show_default=False,
    ),
]
Force = Annotated[bool, _flag("-f --force", "Replace outputs that exist.")]
DryRun = Annotated[bool, _flag("-n --dry-run", "Show what would be done; write nothing.")]
Stats = Annotated[
    str | None,
    _value(
        "--stats",
        "PATH",
        "Write the statistics to a .json, .jsonl or .csv file.",
        path,
    ),
]
Provenance = Annotated[
    bool,
    _flag("--provenance/--no-provenance", "Record the settings in the metadata (default) or not."),
]
Json = Annotated[bool, _flag("--json", "Print the report as one JSON document.")]
Quiet = Annotated[bool, _flag("-q --quiet", "Show errors only.")]
Verbose = Annotated[bool, _flag("-v --verbose", "Show every tensor, or file.")]
Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Tensor files, - for standard input.")
]
Outputs = Annotated[
    list[str],
    typer.Argument(metavar="OUTPUT", help="Files and folders to check.", parser=path),
]
Source = Annotated[
    str,
    _value("--source", "INPUT", "The file that they were made from, or the folder.", path),
]
Topic = Annotated[
    str | None,
    typer.Argument(
        metavar="TOPIC",
        help="A page of the guide; none lists them.",
        parser=str,
        show_default=False,
    ),
]
