"""`dropcli verify`: derive outputs again, and compare."""

import os
from functools import partial

from dropcli.cli import console, options
from dropcli.errors import FileError, UsageError
from dropcli.parallel import signals


def verify(
    outputs: options.Outputs,
    source: options.Source,
    jobs: options.Jobs = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Derive outputs again from their provenance and sources, and compare bytes.

    \b
    Examples:
      dropcli verify y.safetensors --source x.safetensors
      dropcli verify augmented/ --source data/

    Exits with 0 if all are the same, 4 if one is not.
    """  # noqa: D301
    with signals.deferred():
        from dropcli.cli.progress import progress
        from dropcli.dataset.discover import discover
        from dropcli.dataset.run import worker_died
        from dropcli.dataset.verify import Verdict, verify_work
        from dropcli.files import is_folder
        from dropcli.parallel import choose_engine
        from dropcli.pipeline.report import Report

    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        message = f"--source: expected a file or a folder, got '{source}'"
        raise UsageError("no-source", message) from None
    except OSError:
        pass  # opening it will tell
    found = discover(list(outputs), None, None)
    if not (found.inputs or found.failures):
        raise FileError("no-files", "expected files to verify, got none", None, outputs[0])
    mirrored = bool(found.folders) and is_folder(source)
    sizes = [
        os.path.getsize(item.path) if os.path.isfile(item.path) else 0 for item in found.inputs
    ]
    errors, verdicts = list(found.failures), []
    engine = choose_engine(partial(verify_work, source, mirrored), sizes, jobs or None)
    order = {item: number for number, item in enumerate(found.inputs)}
    with progress(not quiet, lines=True) as shown:
        shown.begin(len(sizes), sum(sizes))
        chunks = (found.inputs[start : start + 16] for start in range(0, len(sizes), 16))
        for item, verdict in engine.run(chunks, lambda count: shown.advance(nbytes=count)):
            verdict = verdict or Verdict(item.path, error=worker_died(item.path))
            verdicts.append((order[item], verdict))
            shown.advance(files=1, failed=int(bool(verdict.error or verdict.difference)))
    done = [verdict for _, verdict in sorted(verdicts, key=lambda pair: pair[0])]
    errors += [verdict.error for verdict in done if verdict.error]
    compared = [verdict for verdict in done if not verdict.error]
    different = sum(bool(verdict.difference) for verdict in compared)

    documents = [error.document() for error in errors]
    report = Report("verify", None, [*compared], documents, different=different)
    if json:
        console.write_out(report.to_json())
    elif not quiet:
        console.show_verdicts(compared, verbose=verbose)
    for error in errors:
        console.show_error(error)
    if different:
        return 4
    return 0 if not errors else 3 if compared else 1
