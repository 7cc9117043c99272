"""`dropcli diff`: what differs between two files."""

import os
import shlex

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
        from dropcli.files import check_urls
        from dropcli.pipeline import Report
    check_urls([one, two])
    try:
        found = compare(one, two)
    except DropcliError as error:
        add_hints([error], [before, after])
        if error.code == "is-a-directory":
            error.hint = _files_hint(one, two)
        raise
    if json:
        report = Report("diff", None, [found], different=int(found.different))
        console.write_out(report.to_json())
    elif not quiet:
        console.show_difference(found, verbose=verbose)
    return 4 if found.different else 0


def _files_hint(before: str, after: str) -> str:
    """What to type instead of folders: a file of each, or what compares all of them."""
    if os.path.isdir(before) and os.path.isdir(after):
        folders = f"--source {shlex.quote(before)} {shlex.quote(after)}"
        return f"name a file in each; all outputs of a folder: dropcli verify {folders}"
    folder, other = (before, after) if os.path.isdir(before) else (after, before)
    name = os.path.basename(other) if os.path.isfile(other) else "x.safetensors"
    return f"name a file, as in {shlex.quote(os.path.join(folder, name))}"
