"""`dropcli info`: what tensor files hold."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from dropcli.cli import options, run_options, values
from dropcli.cli.missing import add_hints
from dropcli.cli.terminal import console
from dropcli.errors import DropcliError, UsageError
from dropcli.parallel import signals

if TYPE_CHECKING:
    from dropcli.formats import FileInfo


def info(
    files: options.Files,
    stats: run_options.Statistics = False,
    json: run_options.Json = False,
    verbose: run_options.Verbose = False,
    color: run_options.Color = "auto",
) -> int:
    """Show the tensors of files: names, shapes, data types, sizes, and recorded settings.

    Examples:
      dropcli info x.safetensors
      dropcli info --stats x.safetensors
      dropcli info --json *.safetensors | jq '.files[].tensors[].name'
    """
    paths, errors = [values.path(path) for path in files], list[DropcliError]()
    with signals.deferred():
        from dropcli.pipeline import Report

        read = _reader(stats)

        if not all(map(os.path.isfile, paths)):
            from dropcli.dataset import tensor_files  # slow to import

            paths, errors = tensor_files(paths)
            add_hints(errors, files)

    report = Report("info", errors=[error.document() for error in errors])
    for error in errors:
        console.show_error(error)
    for path in paths:
        try:
            found = read(path)
        except UsageError:
            raise
        except DropcliError as error:
            add_hints([error], files)
            report.errors.append(error.document())
            console.show_error(error)
            continue
        if report.entries and not json:
            console.write_out("\n")
        report.entries.append(found)
        if not json:
            console.show_info(found, verbose=verbose)
    if json:
        console.write_out(report.to_json())
    return {"success": 0, "partial": 3, "error": 1}[report.status]


def _reader(statistics: bool) -> "Callable[[str], FileInfo]":
    if statistics:
        from dropcli.contents import read_statistics

        return read_statistics
    from dropcli.formats import read_info  # without numpy

    return read_info
