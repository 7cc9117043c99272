"""The options and arguments of the command line, each once: its names, its help, its parser."""

from typing import Annotated, Any

import typer

from dropcli.cli import values
from dropcli.dropout import Over

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        parser=values.parse_path,
        show_default=False,
        help=".safetensors and .pt files, folders, globs, or - for standard input.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        parser=values.parse_path,
        help="A file, whose suffix may convert, a folder for several, or -.",
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the inputs, atomically.")]
P = Annotated[
    Any,  # a number or a range, and typer knows no union
    typer.Option(
        "-p",
        "--p",
        metavar="P",
        parser=values.parse_p,
        help="The probability of dropping, 0 to 1; LOW:HIGH draws it.",
    ),
]
PPer = Annotated[
    str | None,
    typer.Option(
        "--p-per",
        metavar="[file|sample]",
        parser=values.parse_p_per,
        help="What -p LOW:HIGH draws for (default: file).",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        parser=values.parse_seed,
        help="0 to 2**64-1; drawn and shown if absent.",
    ),
]
Stream = Annotated[
    str | None,
    typer.Option(
        "--stream",
        metavar="NAME",
        parser=values.parse_stream,
        help="The name in the mask key; by default the file's without suffix.",
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="MODE",
        parser=values.parse_mode,
        help="What one decision covers: element (default), channel, pixel, sample, feature, or "
        "patch:S for square holes.",
    ),
]
Dims = Annotated[
    Over | None,
    typer.Option(
        "--over",
        metavar="DIMS",
        parser=values.parse_over,
        help="Dimensions that decisions differ along: 0 or 0,2:8,3:8.",
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option(
        "-k",
        "--key",
        metavar="GLOB",
        help="Drop these tensors alone, whatever they look like; repeatable.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Copy the tensors of this name; repeatable."),
]
AllFloats = Annotated[
    bool,
    typer.Option(
        "--all-floats",
        help="Drop every float tensor, also those that look like labels.",
    ),
]
Rescale = Annotated[
    bool,
    typer.Option(
        "--rescale/--no-rescale",
        help="Multiply what is kept by 1/(1-p) (default) or not.",
        show_default=False,
    ),
]
Fill = Annotated[
    float | None,
    typer.Option(
        "--fill",
        metavar="V",
        parser=values.parse_fill,
        help="What dropped elements become, instead of 0.",
    ),
]
Alpha = Annotated[
    bool,
    typer.Option(
        "--alpha",
        help="As nn.AlphaDropout and nn.FeatureAlphaDropout, for SELU.",
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Drop round(p * n) of each n decisions along the last of --over.",
    ),
]
MinKeep = Annotated[
    int | None,
    typer.Option(
        "--min-keep",
        metavar="K",
        parser=values.parse_min_keep,
        help="Keep at least K of these n.",
    ),
]
Rng = Annotated[
    str | None,
    typer.Option(
        "--rng",
        metavar="[dropcli|torch]",
        parser=values.parse_rng,
        help="Whose masks: ours (default), or torch's here and now.",
    ),
]
Evaluation = Annotated[
    bool, typer.Option("--eval", help="Evaluation mode: dropout is off, tensors are copied.")
]
Copies = Annotated[
    int,
    typer.Option(
        "--copies",
        metavar="N",
        parser=values.parse_count("--copies"),
        show_default=False,
        help="Write N independent copies of each file, x.1.pt to x.N.pt.",
    ),
]
KeepOriginal = Annotated[
    bool, typer.Option("--keep-original", help="Write the untouched file too, as copy 0.")
]
Concat = Annotated[
    bool,
    typer.Option("--concat", help="Write all copies into one file, along dimension 0."),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="FILE",
        parser=values.parse_path,
        help="Read the inputs from a file, one a line, or from -.",
    ),
]
Null = Annotated[
    bool, typer.Option("-0", "--null", help="They end with null bytes, as from find -print0.")
]
CopyOthers = Annotated[
    bool, typer.Option("--copy-others", help="Copy the other files of folders too.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted run."),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file that fails.")]
Jobs = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        metavar="N",
        parser=values.parse_count("--jobs"),
        show_default=False,
        help="Worker processes; by default one for each core.",
    ),
]
Force = Annotated[bool, typer.Option("-f", "--force", help="Replace outputs that exist.")]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Show what would be done; write nothing.")
]
Stats = Annotated[
    str | None,
    typer.Option(
        "--stats",
        metavar="PATH",
        parser=values.parse_path,
        help="Write the statistics to a .json, .jsonl or .csv file.",
    ),
]
Provenance = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Record the settings in the metadata (default) or not.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show every tensor, or file.")]
Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Tensor files, - for standard input.")
]
Outputs = Annotated[
    list[str],
    typer.Argument(metavar="OUTPUT", parser=values.parse_path, help="Files and folders to check."),
]
Source = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="INPUT",
        parser=values.parse_path,
        help="The file that they were made from, or the folder.",
    ),
]
