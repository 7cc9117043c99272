"""Errors for command lines with mistakes, with hints what was meant."""

import difflib
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dropcli.cli.synonyms import COMMANDS, MEANT, NOT_NEEDED, TRUTHS
from dropcli.errors import UsageError

_DASHES = "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
_TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors")


def no_such_command(commands: Mapping[str, Any], args: Sequence[str]) -> UsageError:
    """The error for a command line that begins with none of the commands."""
    word = args[0]
    called = {name: words.split() for name, words in COMMANDS.items() if name in commands}
    meant = [name for name, words in called.items() if word.lower() in words]
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
    if len(args) == 2 and args[1].endswith(_TENSOR_SUFFIXES) and not os.path.lexists(args[1]):
        return shlex.join(["dropcli", "apply", args[0], "-o", args[1]])
    return shlex.join(["dropcli", "apply", *args]) + ("" if has_output else " -o OUTPUT")


def usage_error(ctx: Any, args: Sequence[str], error: Any) -> UsageError:
    """An error of typer about the arguments of a command, in plain words."""
    param, option = getattr(error, "param", None), getattr(error, "option_name", None)
    hint: str | None = f"{ctx.command_path} --help"
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if option == "-=":  # as in -q=1
        option = next(arg for arg in args if re.match("-[a-zA-Z0]=", arg))[:2]
        message = f"{option}: takes no value"
    elif hasattr(error, "possibilities"):
        message, hint = f"no such option: {option}", _option_hint(ctx, args, error) or hint
    elif option:
        missing = "requires" in error.message
        message = f"{option}: {'the value is missing' if missing else 'takes no value'}"
        if not missing:
            flag = _names(ctx.command.get_params(ctx))[option]
            value = _value_of(option, args).strip()
            hint = _flag_hint(option, value, flag.secondary_opts) or f"use {option}"
    elif param and not error.message:
        name = param.metavar if param.param_type_name == "argument" else param.opts[0]
        message = f"missing {param.param_type_name}: {name}"
        if name == "FILE":
            hint = no_input_hint(ctx.command_path)
        if name == "--source":
            hint = _source_hint(args, _names(ctx.command.get_params(ctx)))
    elif message.startswith("got unexpected extra"):
        message = f"too many arguments: {message.partition('(')[2].partition('(')[2].rstrip(')')}"
    elif param:
        message = f"{param.opts[0]}: {error.message.rstrip('.')}"
    return UsageError("usage", message, hint)


def no_input_hint(command: str) -> str:
    """The hint for missing inputs, when data may be waiting in a pipe."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        mode = 0
    piped = stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
    return "add - to read standard input" if piped else f"{command} --help"


def _option_hint(ctx: Any, args: Sequence[str], error: Any) -> str | None:
    """The hint for an option that does not exist."""
    option = error.option_name
    known = _names(ctx.command.get_params(ctx))
    near = [*(error.possibilities or ()), *difflib.get_close_matches(option, known, 1)]
    closest = next((f"did you mean {name}?" for name in near if _is_like(option, name)), None)
    commands = getattr(ctx.command, "commands", None)
    if commands:  # options of a command were given before it, or without a command
        name = next((arg for arg in args if arg.lstrip("-") in commands), None)
        if name is None:
            return _apply(args) if any(map(_is_path, args)) else closest
        args = [arg for arg in args if arg != name]
        return f"did you mean {shlex.join(['dropcli', name.lstrip('-'), *args])}?"
    if option.swapcase() in known:
        return f"did you mean {option.swapcase()}?"
    spelled = option.lower().replace("_", "-") if option.startswith("--") else option
    meant = MEANT.get(option) or MEANT.get(spelled, "")
    if meant.endswith(":"):  # of --mode patch:8
        meant += _value_of(option, args).strip() or "8"
    if (name := meant.split(" ")[0]) in known:
        takes_value = name == meant and not is_flag(known[name])
        return f"use {meant}{_value_of(option, args) if takes_value else ''}"
    if option in NOT_NEEDED:
        return NOT_NEEDED[option]
    return _form_hint(option, args, known) or _other_command(ctx, option) or closest


def _is_like(option: str, name: str) -> bool:
    """Whether two options are similar, apart from their dashes."""
    ours, other = option.strip("-"), name.strip("-")
    least = 0.6 if ours[:1] == other[:1] else 0.75
    return difflib.SequenceMatcher(None, ours, other).ratio() >= least


def _form_hint(option: str, args: Sequence[str], known: Mapping[str, Any]) -> str | None:
    """The hint for `--no-seed`, `--seed:7` and `-n4`."""
    for no in ("--no-", "--no"):
        positive = option.replace(no, "--", 1) if option.startswith(no) else ""
        if positive in known:
            opposites = known[positive].secondary_opts
            return f"use {opposites[0]}" if opposites else f"leave {positive} out"
    head, *values = re.split("[:,]", option, maxsplit=1)
    if values and head in known:
        return f"did you mean {' '.join([head, *values]).strip()}?"
    number = option[1:]
    flags = [arg[:2] for arg in args if arg[2:] == number and number.isdecimal()]
    return _number_hint(flags[0], number) if flags else None


def _other_command(ctx: Any, option: str) -> str | None:
    """The hint for an option of another command, and for a command written as an option."""
    commands = ctx.parent.command.commands
    if option[2:] in commands:
        return f"{option[2:]} is a command: dropcli {option[2:]} --help"
    for name, other in commands.items():
        if option in _names(other.params):
            return f"{option} is an option of dropcli {name}"
    return None


def _value_of(option: str, args: Sequence[str]) -> str:
    """The value given to an option, with a space before it."""
    for arg, following in pairwise([*args, ""]):
        if arg.startswith(f"{option}="):
            following = arg.partition("=")[2]
        elif arg != option:
            continue
        return f" {shlex.quote(following)}" if following else ""
    return ""


def check_words(params: Sequence[Any], args: Sequence[str], code: str = "usage") -> None:
    """Raise UsageError for words that typer parses differently from what is meant."""
    known = _names(params)
    option = ""  # the option whose value is the next word
    last, value, inputs = "", "", 0  # the option and the value just before the word
    for word, following in pairwise([*args, ""]):
        message, hint = "", ""
        if word == "--":
            return
        if option:
            if word in known:
                message, hint = f"{option}: the value is missing", f"'{word}' is an option"
        elif is_flag(known.get(word)):
            message, hint = _after_flag(word, following, known[word].secondary_opts)
        elif word.startswith(("-", *_DASHES)):
            message, hint = _odd_dash(word, known)
        else:
            message, hint = _after_value(last, value, word)
            if not message and inputs:
                message, hint = _without_dashes(word, following, known)
            inputs += 1
        if message:
            raise UsageError(code, message, hint)
        last, value = option, word
        option = "" if option else _wants_value(word, known)


def _odd_dash(word: str, known: Mapping[str, Any]) -> tuple[str, str]:
    """The error and the hint for an option with the dash of a text editor, and for `-force`."""
    if word[0] in _DASHES:
        hint = f"use {'--' if len(word) > 2 else '-'}{word.lstrip(_DASHES + '-')}"
        return f"'{word}' begins with a dash that is not the one on the keyboard", hint
    long = f"-{word}".partition("=")[0]
    if len(long) <= 3 or long not in known.keys() | MEANT.keys():
        return "", ""
    hint = f"did you mean {long}?" if long in known else f"use {MEANT[long]}"
    return f"no such option: {word.partition('=')[0]}", hint


def _wants_value(word: str, known: Mapping[str, Any]) -> str:
    """The option in a word whose value is the next word, such as `-o` in `-fo`."""
    if word in known:
        return "" if is_flag(known[word]) else word
    *flags, last = [f"-{char}" for char in word.removeprefix("-")] or [""]
    if word[:1] != "-" or not all(is_flag(known.get(flag)) for flag in flags):
        return ""
    return last if last in known and not is_flag(known[last]) else ""


def _after_flag(flag: str, word: str, opposites: Sequence[str]) -> tuple[str, str]:
    """The error and the hint for `--rescale no`, in which `no` would be an input."""
    hint = "" if os.path.exists(word) else _flag_hint(flag, word, opposites)
    if not hint and re.fullmatch("[0-9.]+", word) and not os.path.exists(word):
        hint = _number_hint(flag, word)
    return (f"{flag}: takes no value, but '{word}' follows it", hint) if hint else ("", "")


def _flag_hint(flag: str, value: str, opposites: Sequence[str]) -> str:
    """The hint for a flag with a value, if the value shows what was meant."""
    if flag == "--json" and value.endswith(".json"):
        return f"use --stats {shlex.quote(value)}"
    if flag == "--stats" and value.endswith(".json"):  # of info
        return f"use --stats --json > {shlex.quote(value)}"
    truth = TRUTHS.get(value.lower())
    if truth is None:
        return ""
    meant = [flag] if truth else opposites
    return f"use {meant[0]}" if meant else f"leave {flag} out"


def _number_hint(flag: str, number: str) -> str:
    """The hint for a flag with a number."""
    if flag in ("-n", "--dry-run"):
        return f"for copies use --copies {number}, for workers -j {number}; -n writes nothing"
    return f"use {flag} -p {number}" if "." in number else f"leave '{number}' out"


def _after_value(option: str, value: str, word: str) -> tuple[str, str]:
    """The error and the hint for `--over 0 1` and `-p 0.1 0.5`, in which the last is an input."""
    joint = {"--over": ",", "-p": ":"}.get(option)
    if not joint or not re.fullmatch(r"[-0-9.:,]+", word) or os.path.exists(word):
        return "", ""
    message = f"{option}: takes one value, but '{word}' follows it"
    return message, f"did you mean {option} {value.rstrip(joint)}{joint}{word}?"


def _without_dashes(word: str, following: str, known: Mapping[str, Any]) -> tuple[str, str]:
    """The error and the hint for `seed=7`, `seed 7` and `/seed 7` after the inputs."""
    name, equals, value = word.removeprefix("/").partition("=")
    option = f"{'--' if len(name) > 1 else '-'}{name}"
    if option not in known or not name[:1].isalpha() or os.path.exists(word):
        return "", ""
    if not is_flag(known[option]):
        option += f" {value if equals else following}".rstrip()
    return f"'{word}' is not a file", f"did you mean {option}?"


def _names(params: Sequence[Any]) -> dict[str, Any]:
    """The options of a command by all their names."""
    options = [param for param in params if param.param_type_name == "option"]
    return {name: param for param in options for name in (*param.opts, *param.secondary_opts)}


def is_flag(param: Any) -> bool:
    """Whether a parameter is an option without a value."""
    return bool(getattr(param, "is_flag", False))


def _source_hint(args: Sequence[str], known: Mapping[str, Any]) -> str:
    """The command with `--source`; the source is the second of two files."""
    before = ["", *args]
    files = [
        arg
        for arg, last in zip(args, before, strict=False)
        if not arg.startswith("-") and not _wants_value(last, known)
    ]
    source = files.pop() if len(files) == 2 else "INPUT"
    return shlex.join(["dropcli", "verify", *files, "--source", source])
