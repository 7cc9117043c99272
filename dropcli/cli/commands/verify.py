"""`dropcli verify`: compute outputs again, and compare."""

from dropcli.cli import options, run_options
from dropcli.cli.missing import add_hints
from dropcli.cli.terminal import console
from dropcli.parallel import signals


def verify(
    outputs: options.Outputs,
    source: options.Source,
    jobs: run_options.Jobs = 0,
    json: run_options.Json = False,
    quiet: run_options.Quiet = False,
    verbose: run_options.Verbose = False,
    color: run_options.Color = "auto",
) -> int:
    """Recompute outputs from their sources and recorded settings; compare byte for byte.

    Examples:
      dropcli verify y.safetensors --source x.safetensors
      dropcli verify augmented/ --source data/

    The exit code is 0 if all outputs are the same, and 4 if one differs.
    """
    with signals.deferred():
        from dropcli.cli.terminal.progress import progress
        from dropcli.dataset import verify_outputs
        from dropcli.pipeline import Report

    with progress("verifying", enabled=not quiet, lines=True) as shown:
        verdicts, errors = verify_outputs(list(outputs), source, jobs or None, shown)
    add_hints(errors, [*outputs, source])
    different = sum(bool(verdict.difference) for verdict in verdicts)
    documents = [error.document() for error in errors]
    report = Report("verify", None, [*verdicts], documents, different=different)
    if json:
        console.write_out(report.to_json())
    elif not quiet:
        console.show_verdicts(verdicts, len(errors), verbose=verbose)
    console.show_errors(errors, verbose=verbose)
    if different:
        return 4
    return 0 if not errors else 3 if verdicts else 1
