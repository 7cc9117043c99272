"""Typer's kinds of command, but faster to start, stricter with options, and with other help."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from dropcli.cli.terminal import console
from dropcli.cli.terminal.usage import help_text
from dropcli.errors import UsageError

_AS_IT_IS = (bool, str, list[str])


class Group(TyperGroup):
    """The program, which contains the commands."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        return _parsed_directly(super().get_params(ctx))

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        _write_help(ctx)

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        with _our_errors(ctx, list(args)):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        if args[0] not in self.commands and not ctx.resilient_parsing:
            from dropcli.cli.mistakes import no_such_command  # slow for --help

            raise no_such_command(self.commands, args)
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command that refuses an option given twice, instead of taking the last value."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        return _parsed_directly(super().get_params(ctx))

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        _write_help(ctx)

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        from dropcli.cli.mistakes import check_words, is_flag

        words, params = list(args), self.get_params(ctx)
        try:
            with _our_errors(ctx, words):
                _, _, given = self.make_parser(ctx).parse_args(args=list(args))
                rest = super().parse_args(ctx, args)
        except UsageError as error:
            check_words(params, words, error.code)  # it finds better what was meant
            raise
        if not ctx.resilient_parsing:  # for completion
            check_words(params, words)
        for param in {param for param in given if param.nargs == 1 and not param.multiple}:
            # Repeating a flag without a value does not change its meaning.
            valued = not is_flag(param) or param.secondary_opts
            if param.param_type_name == "option" and valued and given.count(param) > 1:
                raise UsageError("given-twice", f"{param.opts[0]}: given twice")
        return rest


@contextmanager
def _our_errors(ctx: typer.Context, args: list[str]) -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        from dropcli.cli.mistakes import usage_error

        raise usage_error(ctx, args, error) from None


def _write_help(ctx: typer.Context) -> NoReturn:
    """Show the help here: typer ignores a closed stream, and ignores `--color always`."""
    console.write_out(f"{help_text(ctx, console.styler(sys.stdout))}\n")
    raise typer.Exit


def _parsed_directly(params: list[Any]) -> list[Any]:
    """Call parsers directly. Typer uses pydantic, whose import takes a third of a short run."""
    for param in params:
        kind = param.type_descriptor
        if kind.parameter_info.parser or kind.annotation in _AS_IT_IS:  # others are typer's
            param.process_value = partial(_process, param)
    return params


def _process(param: Any, ctx: typer.Context, value: Any) -> Any:
    """The parsed value of an option or argument."""
    if param.required and param.value_is_missing(value):
        return type(param).process_value(param, ctx, value)  # typer reports what is missing
    parse = param.type_descriptor.parameter_info.parser or (lambda item: item)
    if param.multiple or param.nargs == -1:
        value = [parse(item) for item in value or ()]
    elif value is not None:
        value = parse(value)
    return param.callback(ctx, param, value) if param.callback else value
