"""What people type by mistake, and what they meant."""

import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dropcli.errors import UsageError

# Options of other programs, with the one that does it here.
_OPTIONS = {
    "-p": "--dropout --drop --drop-p --drop-prob --drop-rate --dropout-p --dropout-prob "
    "--dropout-rate --percent --prob --probability --proba --rate --ratio",
    "-k": "--include --layer --layers --match --name --names --only --select --tensor --tensors",
    "--exclude": "--ignore --skip --except",
    "--mode channel": "--channel --channels --channelwise --dropout2d --2d",
    "--over": "--axes --axis --dim --dims --dimension --dimensions",
    "--no-rescale": "--no-scale --noscale --unscaled",
    "--rescale": "--scale",
    "--fill": "--value --fill-value --constant",
    "--seed": "--random-seed --random-state --manual-seed -s",
    "-o": "--out --out-dir --out-file --outdir --outfile --output-dir --output-file "
    "--output-folder --output-path --dest --destination --save --save-to --target --to -d -O",
    "--in-place": "--inplace",
    "--force": "--overwrite --clobber --replace --yes -y",
    "--copies": "--n-copies --num-copies --repeat --repeats --times --augment -c",
    "-j": "--cpus --cores --nproc --num-workers --parallel --processes --threads --worker "
    "--workers -t -w",
    "--files-from": "--file-list --input-list --list --from-file -T",
    "--null": "--print0 --zero -z",
    "--resume": "--continue --restart",
    "--dry-run": "--dry --dryrun --simulate --no-act --what-if",
    "--stats": "--report --statistics --summary --csv --log",
    "-q": "--silent --no-progress --no-output",
    "-v": "--debug --all --verbosity",
    "--color never": "--no-color --no-colour --nocolor",
    "--color": "--colour --colors",
    "--source": "--src --input --original --reference --from --against",
}
_MEANT = {name: option for option, names in _OPTIONS.items() for name in names.split()}
_NOT_NEEDED = {
    **dict.fromkeys(("--recursive", "-r", "-R"), "folders are read with all folders in them"),
    **dict.fromkeys(
        ("--format", "--type", "--to-pt", "--to-safetensors"),
        "the suffix of the output chooses the format: -o y.pt or -o y.safetensors",
    ),
    **dict.fromkeys(("--device", "--cuda", "--gpu", "--cpu"), "dropcli always runs on the CPU"),
    **dict.fromkeys(
        ("--input", "--inputs", "--in", "--file", "--files", "-i"),
        "give the input files without an option",
    ),
    "--no-clobber": "files that exist are kept, unless --force is given",
    **dict.fromkeys(
        ("--training", "--train"), "dropout is on unless --eval is given; leave this out"
    ),
}
_COMMANDS = {
    "apply": "augment convert do drop dropout run",
    "info": "cat describe inspect list ls print show stat stats",
    "verify": "check compare test validate",
}
_TRUTHS = {
    **dict.fromkeys(("yes", "true", "on", "1", "y", "t"), True),
    **dict.fromkeys(("no", "false", "off", "0", "n", "f", "none"), False),
}
_TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors")


def no_such_command(commands: Mapping[str, Any], args: Sequence[str]) -> UsageError:
    """The error for a command line that begins with none of the commands."""
    word = args[0]
    meant = [name for name, words in _COMMANDS.items() if word.lower() in words.split()]
    meant += difflib.get_close_matches(word.lower(), commands, 1)
    if _is_path(word):
        hint = _apply(args)
    elif meant:
        hint = f"did you mean {shlex.join(['dropcli', meant[0], *args[1:]])}?"
    else:
        hint = "dropcli --help"
    return UsageError("usage", f"no such command: '{word}'", hint)


def _is_path(word: str) -> bool:
    return os.path.exists(word) or word.endswith(_TENSOR_SUFFIXES) or word == "-" or "/" in word


def _apply(args: Sequence[str]) -> str:
    """The command line with `apply` and an output."""
    has_output = any(re.match("-o|--output|--in-place", arg) for arg in args)
    return shlex.join(["dropcli", "apply", *args]) + ("" if has_output else " -o OUTPUT")


def usage_error(ctx: Any, args: Sequence[str], error: Any) -> UsageError:
    """What typer found wrong with the arguments of a command, in plain words."""
    param, option = getattr(error, "param", None), getattr(error, "option_name", None)
    hint: str | None = f"{ctx.command_path} --help"
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if hasattr(error, "possibilities"):
        message, hint = f"no such option: {option}", _option_hint(ctx, args, error) or hint
    elif option:
        missing = "requires" in error.message
        message = f"{option}: {'the value is missing' if missing else 'takes no value'}"
    elif param and not error.message:
        name = param.metavar if param.param_type_name == "argument" else param.opts[0]
        message = f"missing {param.param_type_name}: {name}"
        if name == "--source":
            hint = _source_hint(args)
    elif param:
        message = f"{param.opts[0]}: {error.message.rstrip('.')}"
    return UsageError("usage", message, hint)


def _option_hint(ctx: Any, args: Sequence[str], error: Any) -> str | None:
    """What to type instead of an option that does not exist."""
    option = error.option_name
    commands = getattr(ctx.command, "commands", None)
    if commands:  # options of a command stand before it, or without one
        name = next((arg for arg in args if arg in commands), None)
        if name is None:
            return _apply(args) if any(map(_is_path, args)) else None
        args = [arg for arg in args if arg != name]
        return f"did you mean {shlex.join(['dropcli', name, *args])}?"
    params = ctx.command.get_params(ctx)
    known = {name: param for param in params for name in (*param.opts, *param.secondary_opts)}
    if not option.startswith("--"):
        whole = next((f"-{arg}" for arg in args if arg.startswith(option)), "").split("=")[0]
        option = whole if whole in known.keys() | _MEANT.keys() else option
        if option in known:
            return f"did you mean {option}?"
    meant = _MEANT.get(option, "")
    if (name := meant.split(" ")[0]) in known:
        takes_value = name == meant and not is_flag(known[name])
        return f"use {meant}{_value_of(option, args) if takes_value else ''}"
    if option in _NOT_NEEDED:
        return _NOT_NEEDED[option]
    near = error.possibilities or difflib.get_close_matches(option, known, 1)
    return f"did you mean {near[0]}?" if near else None


def _value_of(option: str, args: Sequence[str]) -> str:
    """What was given to an option, with a space before it."""
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        if arg.startswith(f"{option}="):
            following = arg.partition("=")[2]
        elif arg != option:
            continue
        return f" {shlex.quote(following)}" if following else ""
    return ""


def check_flags(params: Sequence[Any], args: Sequence[str]) -> None:
    """UsageError for `--rescale no`, in which `no` would be an input."""
    flags = {name: param for param in params for name in param.opts if is_flag(param)}
    for option, word in pairwise(args):
        if option in flags and word.lower() in _TRUTHS and not os.path.exists(word):
            meant = [option] if _TRUTHS[word.lower()] else flags[option].secondary_opts
            hint = f"use {meant[0]}" if meant else f"leave {option} out"
            raise UsageError("usage", f"{option}: takes no value, but '{word}' follows it", hint)


def is_flag(param: Any) -> bool:
    """Whether a parameter is an option without a value."""
    return bool(getattr(param, "is_flag", False))


def _source_hint(args: Sequence[str]) -> str:
    """The command with `--source`, of two files the second."""
    files = [arg for arg in args if not arg.startswith("-")]
    source = files.pop() if len(files) == 2 else "INPUT"
    return shlex.join(["dropcli", "verify", *files, "--source", source])
