"""The options of a run: outputs, many files, the report."""

from typing import Annotated

from dropcli.cli import values
from dropcli.cli.options import count, option
from dropcli.cli.values import path

_OUTPUT, _FILES, _REPORT = "Output", "Many files", "Report"

Output = Annotated[
    str | None,
    option(
        _OUTPUT,
        "-o --output OUTPUT",
        "Output file, folder (for several inputs), or - for standard output. A .pt or "
        ".safetensors suffix chooses the format.",
        values.output_path,
    ),
]
Picture = Annotated[
    str | None,
    option(
        _OUTPUT,
        "-o --output PICTURE",
        "Write a contact sheet to a .png file, or a page to a .html file.",
        path,
    ),
]
InPlace = Annotated[
    bool, option(_OUTPUT, "--in-place", "Replace the input files, each atomically.")
]
Force = Annotated[bool, option(_OUTPUT, "-f --force", "Replace output files that exist.")]
Copies = Annotated[
    int,
    option(
        _OUTPUT,
        "--copies N",
        "Write N independent copies of each file: x.1.pt to x.N.pt.",
        count("--copies"),
        default=False,
    ),
]
KeepOriginal = Annotated[
    bool, option(_OUTPUT, "--keep-original", "With --copies, also write the input as copy 0.")
]
Concat = Annotated[
    bool, option(_OUTPUT, "--concat", "With --copies, join them along dimension 0 in one file.")
]
CopyOthers = Annotated[
    bool, option(_OUTPUT, "--copy-others", "Also copy files without tensors from input folders.")
]
Provenance = Annotated[
    bool,
    option(
        _OUTPUT,
        "--provenance/--no-provenance",
        "Record the settings in the metadata of each output, or not.",
        default="--provenance",
    ),
]
Sync = Annotated[
    bool,
    option(
        _OUTPUT, "--sync/--no-sync", "Wait until outputs are on the disk, or not.", default="--sync"
    ),
]

FilesFrom = Annotated[
    str | None,
    option(
        _FILES,
        "--files-from FILE",
        "Read input paths from FILE (- for standard input), one per line.",
        path,
    ),
]
Null = Annotated[
    bool,
    option(_FILES, "-0 --null", "Paths in --files-from end with NUL bytes (find -print0)."),
]
Jobs = Annotated[
    int,
    option(
        _FILES,
        "-j --jobs N",
        "Number of worker processes.",
        count("-j", "leave -j out for one worker per core"),
        default="one per core",
    ),
]
Resume = Annotated[bool, option(_FILES, "--resume", "Continue a run; skip files that are done.")]
FailFast = Annotated[bool, option(_FILES, "--fail-fast", "Stop at the first file that fails.")]
ShardOfFiles = Annotated[
    str | None,
    option(
        _FILES,
        "--shard I/N",
        "Process the I-th of N parts of the files. When all parts are done, run the command with "
        "--resume and without --shard.",
    ),
]
Engine = Annotated[
    str,
    option(
        _FILES,
        "--engine processes|dask",
        "Process the files on this machine, or on a running Dask cluster.",
    ),
]
Scheduler = Annotated[
    str | None,
    option(
        _FILES,
        "--scheduler ADDRESS",
        "Address of the Dask scheduler, such as tcp://host:8786, or its scheduler file.",
        path,
        default="DASK_SCHEDULER_ADDRESS",
    ),
]

Stats = Annotated[
    str | None,
    option(
        _REPORT,
        "--stats PATH",
        "Write the report to a file: .html, .md, .json, .jsonl, .csv, .png, .pdf or .svg.",
        path,
    ),
]
Statistics = Annotated[
    bool,
    option(_REPORT, "--stats", "Also read the tensors: mean, std, zeros and more, and histograms."),
]
Json = Annotated[bool, option(_REPORT, "--json", "Print the report as one JSON document.")]
DryRun = Annotated[
    bool, option(_REPORT, "-n --dry-run", "Show what would be done, and write nothing.")
]
Quiet = Annotated[bool, option(_REPORT, "-q --quiet", "Show errors only.")]
Verbose = Annotated[
    bool, option(_REPORT, "-v --verbose", "Show all tensors and files, not only the first ten.")
]
Color = Annotated[
    str,
    option(
        _REPORT,
        "--color auto|always|never",
        "Use colour on terminals (auto), everywhere, or nowhere.",
    ),
]


class Running:
    """The options of a run over files that writes tensors."""

    output: Output = None
    in_place: InPlace = False
    force: Force = False
    copies: Copies = 0
    keep_original: KeepOriginal = False
    concat: Concat = False
    copy_others: CopyOthers = False
    provenance: Provenance = True
    sync: Sync = True
    files_from: FilesFrom = None
    null: Null = False
    jobs: Jobs = 0
    resume: Resume = False
    fail_fast: FailFast = False
    shard: ShardOfFiles = None
    engine: Engine = "processes"
    scheduler: Scheduler = None
    stats: Stats = None
    json: Json = False
    dry_run: DryRun = False
    quiet: Quiet = False
    verbose: Verbose = False
    color: Color = "auto"
