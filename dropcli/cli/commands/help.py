"""`dropcli help`: the guide, page by page."""

import sys

import typer
from typer.core import TyperGroup

from dropcli.cli import options, run_options, values
from dropcli.cli.terminal import console
from dropcli.errors import UsageError


def help(ctx: typer.Context, topic: options.Topic = None, color: run_options.Color = "auto") -> int:
    """Read the guide: masks, datasets, recipes, Python and more.

    Examples:
      dropcli help
      dropcli help masks
      dropcli help recipes | less
    """
    pages = _pages()
    if topic is None:
        style = console.styler(sys.stdout)
        lines = [
            f"{style('option', f'{name:<12}')}  {page.splitlines()[2]}\n"
            for name, page in pages.items()
        ]
        console.write_out("".join([*lines, "\nRead a page with: dropcli help TOPIC\n"]))
    elif topic not in pages:
        return _show_command(ctx, topic, list(pages))
    elif console.is_terminal(sys.stdout) or console.is_colored(sys.stdout):
        console.show_markdown(pages[topic])
    else:
        console.write_out(pages[topic])
    return 0


def _pages() -> dict[str, str]:
    """The pages by topic. Below its title, each has a sentence that summarizes it."""
    from importlib.resources import files  # 20 ms

    folder = files("dropcli") / "guide"
    return {name: (folder / f"{name}.md").read_text("utf-8") for name in values.topics()}


def _show_command(ctx: typer.Context, name: str, topics: list[str]) -> int:
    """Show the help of a command that was named instead of a topic, or raise UsageError."""
    group = ctx.find_root().command
    assert isinstance(group, TyperGroup)
    commands = group.list_commands(ctx)
    if command := group.get_command(ctx, name):
        return command.main(["--help"], prog_name=f"dropcli {name}", standalone_mode=False) or 0
    import difflib

    near = difflib.get_close_matches(name, [*topics, *commands], 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`dropcli help` lists the topics"
    raise UsageError("no-such-topic", f"help: there is no topic '{name}'", hint)
