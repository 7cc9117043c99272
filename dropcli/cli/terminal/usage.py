"""The help of a command: a description, its usage, and its options in panels."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from dropcli.cli.terminal.layout import Styler

_VALUE = r"(?<= )(-[a-z-]+|>) (?=[^ -])"  # stays on one line with the next word
_WIDEST = 100  # columns
_NARROW = 72  # columns; in fewer, the help of an option is below its names
_NAMES = 28  # columns for the names of options


def help_text(ctx: "typer.Context", style: "Styler") -> str:
    """The help of the command of `ctx`, fitted to the width of the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    command: Any = ctx.command
    first, *others = (command.help or "").split("\n\n")
    lines = [*_paragraph(first, width, style), ""]
    usage = textwrap.wrap(f"Usage: {ctx.command_path} {_usage(ctx)}", width, subsequent_indent="  ")
    lines += [usage[0].replace("Usage:", style("heading", "Usage:"), 1), *usage[1:]]
    for paragraph in others:
        lines += ["", *_paragraph(paragraph, width, style)]
    for title, rows in _panels(ctx):
        lines += ["", style("heading", f"{title}:")]
        for names, text in rows:
            lines += _row(names, text, width, style)
    return "\n".join(lines)


def _paragraph(text: str, width: int, style: "Styler") -> Iterator[str]:
    """The lines of a paragraph. Indented lines are commands; long ones get a backslash."""
    heading, *lines = text.split("\n")
    if not lines or not lines[0].startswith("  "):
        yield from textwrap.wrap(text, width)
        return
    yield style("heading", heading)
    for line in lines:
        parts = textwrap.wrap(
            re.sub(_VALUE, "\\1\N{NO-BREAK SPACE}", line),
            width - 2,
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield " \\\n".join(parts).replace("\N{NO-BREAK SPACE}", " ")


def _usage(ctx: "typer.Context") -> str:
    command: Any = ctx.command
    params = command.get_params(ctx)
    needed = [_names(p).strip() for p in params if p.param_type_name == "argument" or p.required]
    return " ".join(["[OPTIONS]", *(needed or ["COMMAND ..."])])


def _panels(ctx: "typer.Context") -> list[tuple[str, list[tuple[str, str]]]]:
    """The panels: a title, and the names and help of its options. Other options come last."""
    command: Any = ctx.command
    panels: dict[str, list[tuple[str, str]]] = {}
    commands = getattr(command, "commands", {})
    for name, sub in commands.items():
        if not sub.hidden:
            summary = (sub.help or "").split("\n\n")[0].replace("\n", " ")
            panels.setdefault("Commands", []).append((name, summary))
    for param in command.get_params(ctx):
        if param.param_type_name == "argument":
            panels.setdefault("Arguments", []).append((_names(param), param.help))
        elif not param.hidden:
            title = None if commands else getattr(param, "rich_help_panel", None)
            rows = panels.setdefault(title or "Options", [])
            rows.append((_names(param), f"{param.help}{_default(param)}"))
    return sorted(panels.items(), key=lambda panel: panel[0] == "Options")


def _names(param: Any) -> str:
    """The names of an option and the form of its value; short names are in one column."""
    if param.param_type_name == "argument":
        return f"{param.metavar}..." if param.nargs != 1 else f"[{param.metavar}]"
    names = "/".join([", ".join(sorted(param.opts, key=len)), *param.secondary_opts])
    value = "" if param.is_flag else f" {param.metavar}"
    return f"{'' if re.match('-[^-]', names) else '    '}{names}{value}"


def _default(option: Any) -> str:
    shown = option.show_default
    if shown is True and option.default is not None:
        shown = str(option.default)
    return f" [default: {shown}]" if isinstance(shown, str) else ""


def _row(names: str, text: str, width: int, style: "Styler") -> Iterator[str]:
    narrow = width < _NARROW
    indent = " " * (6 if narrow else _NAMES + 2)
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    shown = f"  {style('option', names.strip() if narrow else names)}"
    beside = not narrow and len(names) < _NAMES - 1
    if beside:
        shown += lines.pop(0)[len(names) + 2 :]
    defaults = re.compile(r"\[default: [^]]*\]")
    help_lines = "\n".join([shown, *lines])
    yield defaults.sub(lambda found: style("dim", found[0]), help_lines)
