"""The commands as Python functions."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from dropcli.contents import read_statistics
from dropcli.dataset import (
    Request,
    Shard,
    choose_output,
    is_several,
    prepare,
    tensor_files,
    verify_outputs,
)
from dropcli.dropout import Settings, whole_number
from dropcli.errors import DropcliError, UsageError
from dropcli.formats import read_info
from dropcli.pipeline import Progress
from dropcli.pipeline import Report as Report

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from dropcli.report import Preview

Path = str | os.PathLike[str]


def apply(
    source: Path | Sequence[Path],
    target: Path | None = None,
    *,
    seed: int | None = None,
    like: Path | None = None,
    stream: str | None = None,
    in_place: bool = False,
    copies: int = 0,
    keep_original: bool = False,
    concat: bool = False,
    copy_others: bool = False,
    force: bool = False,
    resume: bool = False,
    fail_fast: bool = False,
    shard: str | None = None,
    jobs: int | None = None,
    executor: "Executor | None" = None,
    provenance: bool = True,
    sync: bool = True,
    **settings: Unpack[Settings],
) -> Report:
    """Apply dropout to files, as `dropcli apply source -o target` does.

    `source` is a file, a folder, a glob, or a list of them; the options are those of the command.
    `like` is a file whose recorded settings and seed are used unless others are given.
    `executor` is any `concurrent.futures.Executor`, whose workers process the files of a dataset.
    The report's `settings` contain the seed that was drawn if none was given; each of its `files`
    has `tensors` with the counts and the statistics.

    Raises:
        dropcli.DropcliError: the error that the command would end with. If one of several files
            fails, it is an entry of `report.errors` instead.
    """
    request = Request(
        choose_output(None if target is None else os.fspath(target), in_place),
        stream=stream,
        copies=whole_number("copies", copies),
        keep_original=keep_original,
        concat=concat,
        copy_others=copy_others,
        force=force,
        resume=resume,
        provenance=provenance,
        sync=sync,
        fail_fast=fail_fast,
        shard=None if shard is None else Shard.parse(shard),
        jobs=None if jobs is None else whole_number("jobs", jobs, 1),
        executor=executor,
    )
    return _run(source, request, seed, like, settings)


def mask(
    source: Path | Sequence[Path],
    target: Path,
    *,
    seed: int | None = None,
    like: Path | None = None,
    stream: str | None = None,
    copies: int = 0,
    concat: bool = False,
    force: bool = False,
    resume: bool = False,
    fail_fast: bool = False,
    jobs: int | None = None,
    executor: "Executor | None" = None,
    provenance: bool = True,
    sync: bool = True,
    **settings: Unpack[Settings],
) -> Report:
    """Write the keep mask of files, as `dropcli mask source -o target` does.

    The arguments, the report and the errors are those of `apply`, without `fill` and `alpha`. The
    output has a bool tensor for each tensor that `apply` drops, with the same name and shape: True
    where elements are kept.
    """
    for name, value in (("fill", settings.get("fill")), ("alpha", settings.get("alpha") or None)):
        if value is not None:
            message = f"{name}: a mask has no values of dropped elements"
            raise UsageError("mask-values", message, "leave it out: the mask is the same")
    request = Request(
        os.fspath(target),
        mask=True,
        stream=stream,
        copies=whole_number("copies", copies),
        concat=concat,
        force=force,
        resume=resume,
        provenance=provenance,
        sync=sync,
        fail_fast=fail_fast,
        jobs=None if jobs is None else whole_number("jobs", jobs, 1),
        executor=executor,
    )
    return _run(source, request, seed, like, settings)


def preview(
    source: Path | Sequence[Path],
    *,
    seed: int | None = None,
    like: Path | None = None,
    stream: str | None = None,
    copies: int = 0,
    **settings: Unpack[Settings],
) -> "Preview":
    """Show what `apply` would do to a file; nothing is written.

    The arguments and the errors are those of `apply`. Of several files the first one is shown. A
    notebook displays the result as tables and pictures; its `looks` hold the samples as arrays.
    """
    known = None if like is None else os.fspath(like)
    copies = whole_number("copies", copies)
    from dropcli.dataset import preview  # with pictures

    return preview(_paths(source), stream, copies, seed=seed, like=known, **settings)


def info(source: Path | Sequence[Path], *, statistics: bool = False) -> Report:
    """Return what tensor files hold, from their headers, as `dropcli info source` shows it.

    With `statistics` the tensors are read too, as with `--stats`.

    `source` is a file, a folder, a glob, or a list of them. Each of the report's `files` has the
    `format`, `metadata`, `provenance` and `tensors` of one file.

    Raises:
        dropcli.DropcliError: a single file cannot be read. Of several files, each that cannot be
            read is an entry of `report.errors` instead.
    """
    operands = _paths(source)
    paths, errors = tensor_files(operands)
    report = Report("info")
    for path in paths:
        try:
            report.entries.append(read_statistics(path) if statistics else read_info(path))
        except DropcliError as error:
            errors.append(error)
    return _with_errors(report, operands, errors)


def verify(outputs: Path | Sequence[Path], *, source: Path, jobs: int | None = None) -> Report:
    """Compute outputs again from their provenance and sources, and compare bytes.

    `outputs` is a file, a folder, a glob, or a list of them; `source` is the file or the folder
    from which they were made. Each of the report's `files` has the `status` "same" or "different"
    and the `difference`; its `tensors` are empty, because bytes are compared.

    Raises:
        dropcli.DropcliError: a single output cannot be verified. Of several outputs, each that
            cannot be verified is an entry of `report.errors` instead.
    """
    operands = _paths(outputs)
    jobs = None if jobs is None else whole_number("jobs", jobs, 1)
    verdicts, errors = verify_outputs(operands, os.fspath(source), jobs, Progress())
    different = sum(verdict.difference is not None for verdict in verdicts)
    return _with_errors(Report("verify", None, [*verdicts], different=different), operands, errors)


def _run(
    source: Path | Sequence[Path],
    request: Request,
    seed: int | None,
    like: Path | None,
    settings: Settings,
) -> Report:
    known = None if like is None else os.fspath(like)
    return prepare(_paths(source), None, request, seed=seed, like=known, **settings).run(Progress())


def _paths(several: Path | Sequence[Path]) -> list[str]:
    """One path, or several."""
    paths = [several] if isinstance(several, str | os.PathLike) else several
    return [os.fspath(path) for path in paths]


def _with_errors(report: Report, operands: list[str], errors: list[DropcliError]) -> Report:
    """Return the report on several files with their errors; raise the error of a single file."""
    if errors and not is_several(operands):
        raise errors[0]
    report.errors = [error.document() for error in errors]
    return report
