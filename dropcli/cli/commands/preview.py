"""`dropcli preview`: see what `dropcli apply` would do."""

from typing import Any

from dropcli.cli import options, run_options
from dropcli.cli.mistakes import no_input_hint
from dropcli.cli.terminal import console
from dropcli.errors import UsageError
from dropcli.parallel import signals


@options.with_options(options.Dropping)
def preview(
    inputs: options.Inputs = None,
    output: run_options.Picture = None,
    force: run_options.Force = False,
    copies: run_options.Copies = 0,
    verbose: run_options.Verbose = False,
    color: run_options.Color = "auto",
    **chosen: Any,
) -> int:
    """See what `dropcli apply` would do: samples before and after, and which tensors drop.

    Examples:
      dropcli preview x.safetensors -p 0.3 --seed 7
      dropcli preview images.pt --mode patch:8 --copies 3 -o sheet.png

    No tensors are written, and only the shown samples are read. They are exactly what
    `dropcli apply` writes with the same seed.
    """
    with signals.deferred():
        from dropcli.dataset import preview as look
        from dropcli.files import check_destination
        from dropcli.report import check_picture_path

    if not inputs:
        raise UsageError("no-input", "missing argument: INPUT", no_input_hint("dropcli preview"))
    if output is not None:
        check_picture_path(output)
        check_destination(output, replace=force)
    stream = chosen.pop("stream")
    found = look(inputs, stream, copies, verbose, **options.settings_of(chosen))
    console.show_preview(found, verbose=verbose)
    console.show_notices([("", notice) for notice in found.notices], verbose=verbose)
    if output is not None:
        found.save(output, replace=force)
        console.show_saved(output)
    return 0
