"""Arguments, and the options of dropout, each with its names, help, parser and panel."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from dropcli.cli import values
from dropcli.cli.values import path

_DROP, _VALUES, _RANDOM = "What to drop", "Values", "Randomness"
_INPUTS = ".safetensors and .pt files, folders, quoted globs, or - for standard input."


def option(
    panel: str,
    names: str,
    text: str,
    parser: Callable[[Any], Any] | None = None,
    *,
    default: str | bool = True,
    words: Callable[[], Sequence[str]] | None = None,
) -> Any:
    """An option, given by its names and the form of its value: `-k --key GLOB`, `--rng a|b`.

    The help shows `default`; True stands for the value itself. `words` complete the option.
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


def argument(metavar: str, text: str, words: Callable[[], Sequence[str]] | None = None) -> Any:
    """A path, with the name that the help shows; `words` complete it."""
    return typer.Argument(
        metavar=metavar,
        help=text,
        parser=path,
        show_default=False,
        autocompletion=values.completion(words),
    )


def with_options(
    *groups: type, without: Sequence[str] = ()
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Replace `**chosen` of a command with the options that these classes list."""

    def extend(command: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind != each.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(group, name),
                annotation=annotation,
            )
            for group in groups
            for name, annotation in inspect.get_annotations(group).items()
            if name not in without
        ]
        command.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return command

    return extend


def count(option: str, hint: str | None = None) -> Callable[[str | int], int]:
    """The parser of a whole number of 1 or more."""
    return values.integer(option, 1, 10**9 - 1, "bad-count", hint)


Inputs = Annotated[list[str] | None, argument("INPUT", _INPUTS)]
Files = Annotated[list[str], argument("FILE", _INPUTS)]
Topic = Annotated[str | None, argument("TOPIC", "Page of the guide, or a command.", values.topics)]
Before = Annotated[str, argument("A", "The file before, or - for standard input.")]
After = Annotated[str, argument("B", "The file after, or - for standard input.")]
Outputs = Annotated[list[str], argument("OUTPUT", "Files and folders to check.")]
Source = Annotated[
    str,
    option(
        "Arguments", "--source INPUT", "The file or folder that the outputs were made from.", path
    ),
]

P = Annotated[
    Any,  # a number or a range, and typer knows no union
    option(
        _DROP,
        "-p --p P",
        "Drop probability from 0 to 1. LOW:HIGH picks it at random from that range.",
        values.parse_p,
        default="0.5",
    ),
]
PPer = Annotated[
    str | None,
    option(
        _DROP,
        "--p-per file|sample",
        "With -p LOW:HIGH, pick one p per file, or one per sample (index of dimension 0).",
        default="file",
    ),
]
Mode = Annotated[
    str | None,
    option(
        _DROP,
        "--mode MODE",
        "What drops as one: element, channel (like nn.Dropout2d), pixel, sample, feature, or "
        "patch:S (squares of S x S pixels).",
        values.parse_mode,
        default="element",
        words=values.modes,
    ),
]
Dims = Annotated[
    str | None,
    option(
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
    option(_DROP, "-k --key GLOB", "Drop only tensors whose name matches GLOB; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    option(_DROP, "--exclude GLOB", "Copy tensors whose name matches GLOB; may be repeated."),
]
AllFloats = Annotated[
    bool,
    option(
        _DROP,
        "--all-floats",
        "Drop every float tensor, even if it looks like labels or state.",
    ),
]
Exact = Annotated[
    bool,
    option(
        _DROP,
        "--exact",
        "Drop exactly round(p * n) of the n slices along the last --over dimension, instead of "
        "each with probability p.",
    ),
]
MinKeep = Annotated[
    int | None,
    option(
        _DROP,
        "--min-keep K",
        "Always keep at least K slices along the last --over dimension.",
        values.integer(
            "--min-keep",
            1,
            10**18 - 1,
            "bad-min-keep",
            "it is a number of slices, as in --min-keep 1",
        ),
    ),
]

Like = Annotated[
    str | None,
    option(
        _DROP,
        "--like FILE",
        "Use the settings and the seed that are recorded in FILE; other options replace them.",
        path,
    ),
]

Rescale = Annotated[
    bool | None,
    option(
        _VALUES,
        "--rescale/--no-rescale",
        "Multiply kept elements by 1/(1-p), as torch.nn.Dropout does, or leave them as they are.",
        default="--rescale",
    ),
]
Fill = Annotated[
    float | None,
    option(_VALUES, "--fill V", "Value of dropped elements.", values.parse_fill, default="0"),
]
Alpha = Annotated[
    bool,
    option(_VALUES, "--alpha", "Alpha dropout for SELU networks, like nn.AlphaDropout."),
]
Evaluation = Annotated[
    bool, option(_VALUES, "--eval", "Evaluation mode: dropout is off and tensors are copied.")
]

Seed = Annotated[
    int | None,
    option(
        _RANDOM,
        "--seed N",
        "Seed from 0 to 2**64-1; the same seed gives the same masks.",
        values.integer("--seed", 0, 2**64 - 1, "bad-seed", "leave --seed out for a random one"),
        default="drawn at random and shown",
    ),
]
Stream = Annotated[
    str | None,
    option(
        _RANDOM,
        "--stream NAME",
        "Name that is mixed into the seed, so that each file gets its own mask.",
        values.not_empty("empty-stream", "--stream: the name is empty"),
        default="the file's path without its suffix",
    ),
]
Rng = Annotated[
    str | None,
    option(
        _RANDOM,
        "--rng dropcli|torch",
        "Random masks: dropcli (the same on every machine) or torch (what torch.manual_seed(SEED) "
        "gives with the installed torch).",
        default="dropcli",
    ),
]


class Dropping:
    """The options of dropout. None, False and empty lists mean that an option is not given."""

    p: P = None
    p_per: PPer = None
    mode: Mode = None
    over: Dims = None
    key: Key = None
    exclude: Exclude = None
    all_floats: AllFloats = False
    exact: Exact = False
    min_keep: MinKeep = None
    like: Like = None
    rescale: Rescale = None
    fill: Fill = None
    alpha: Alpha = False
    eval: Evaluation = False
    seed: Seed = None
    stream: Stream = None
    rng: Rng = None


def settings_of(chosen: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of `Dropping` except `stream` from `chosen`; return those given."""
    names = [name for name in inspect.get_annotations(Dropping) if name != "stream"]
    given = {name: chosen.pop(name, None) for name in names}
    return {
        name: value
        for name, value in given.items()
        if value not in (None, []) and (value is not False or name == "rescale")
    }
