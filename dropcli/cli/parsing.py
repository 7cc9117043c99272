"""The kinds of command: typer's, quicker to start and stricter with options."""

from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dropcli.errors import UsageError

_AS_IT_IS = (bool, str, list[str])


class Group(TyperGroup):
    """What the commands hang on."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        """The options and arguments, help among them."""
        return _parsed_directly(super().get_params(ctx))


class Command(TyperCommand):
    """A command that refuses a single-valued option given twice, instead of taking the last."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        """The options and arguments, help among them."""
        return _parsed_directly(super().get_params(ctx))

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # the public name of typer's context
        """Parse as ever, then count the options that were given."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        for param in {param for param in given if param.nargs == 1 and not param.multiple}:
            # A plain flag says the same however often it is given.
            valued = not getattr(param, "is_flag", False) or param.secondary_opts
            if param.param_type_name == "option" and valued and given.count(param) > 1:
                raise UsageError("given-twice", f"{param.opts[0]}: expected once, got it again")
        return rest


def _parsed_directly(params: list[Any]) -> list[Any]:
    """Call parsers ourselves: typer has pydantic do it, a third of a short run to import."""
    for param in params:
        kind = param.type_descriptor
        if kind.parameter_info.parser or kind.annotation in _AS_IT_IS:  # others are typer's
            param.process_value = partial(_process, param)
    return params


def _process(param: Any, ctx: typer.Context, value: Any) -> Any:
    """What an option or argument was given, parsed."""
    if param.required and param.value_is_missing(value):
        return type(param).process_value(param, ctx, value)  # typer says what is missing
    parse = param.type_descriptor.parameter_info.parser or (lambda item: item)
    if param.multiple or param.nargs == -1:
        value = [parse(item) for item in value or ()]
    elif value is not None:
        value = parse(value)
    return param.callback(ctx, param, value) if param.callback else value
