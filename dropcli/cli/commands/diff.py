"""`dropcli diff`: what differs between two files."""

from dropcli.cli import options, run_options, values
from dropcli.cli.missing import add_hints
from dropcli.cli.terminal import console
from dropcli.errors import DropcliError, UsageError
from dropcli.parallel import signals


def diff(
    before: options.Before,
    after: options.After,
    json: run_options.Json = False,
    quiet: run_options.Quiet = False,
    verbose: run_options.Verbose = False,
    color: run_options.Color = "auto",
) -> int:
    """Show what differs between two files, tensor by tensor.

    Examples:
      dropcli diff x.safetensors y.safetensors
      dropcli diff x.pt x.safetensors -q && echo the same

    Tensors are matched by name, also between .pt and .safetensors files. The exit code is 0 if all
    are equal, and 4 if one differs or is in only one file.
    """
    one, two = values.path(before), values.path(after)
    if one == two == "-":
        raise UsageError("two-from-stdin", "standard input cannot be both files")
    with signals.deferred():
        from dropcli.contents import compare
        from dropcli.pipeline import Report
    try:
        found = compare(one, two)
    except DropcliError as error:
        add_hints([error], [before, after])
        raise
    if json:
        report = Report("diff", None, [found], different=int(found.different))
        console.write_out(report.to_json())
    elif not quiet:
        console.show_difference(found, verbose=verbose)
    return 4 if found.different else 0
