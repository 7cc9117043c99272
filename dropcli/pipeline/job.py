"""One file into one output: open, drop, publish."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from dropcli.dropout import Dropout, Selection, check_exact, kept_note, nothing_selected, select
from dropcli.errors import DropcliError, FileError, TensorError, located
from dropcli.files import Transaction, open_reader, place_of
from dropcli.formats import (
    Concatenated,
    Segment,
    Source,
    convert,
    convert_to_mask,
    label,
    open_source,
)
from dropcli.pipeline.loop import augment, initial_reports, recipes_for
from dropcli.pipeline.output import Job, Progress, check_output, open_output
from dropcli.pipeline.pieces import Recipes
from dropcli.pipeline.provenance import extended, has_same_key, is_same, record, was_applied
from dropcli.pipeline.report import FileReport, Status, TensorReport
from dropcli.tensors import TensorInfo

_COPY_BYTES = 1 << 20

Write = Callable[[bytes | memoryview], None]


def run_file(
    job: Job, dropout: Dropout, progress: Progress, transaction: Transaction | None = None
) -> FileReport:
    """Write one output and report on it; with a transaction, its commit publishes the output."""
    with _prepared(job, dropout) as ready:
        source = ready.source
        with located(place_of(job.source)):
            unselected = _check_selection(ready, dropout)
            if unselected and not job.writing.in_dataset:
                raise unselected
        check_output(job, ready.size, transaction)
        reports = initial_reports(ready.tensors, ready.recipes, ready.selection.reasons)
        if not job.writing.dry_run:
            with (
                open_output(job, ready.size, transaction) as output,
                located(place_of(job.source)),
            ):
                progress.begin(1, ready.size)
                ready.write(output.write, progress, reports)

    report = _report(job, ready.size, reports)
    entry = record(dropout, job.stream, job.copy)
    report.applied_before = was_applied(source.provenance or [], dropout, entry)
    report.unselected = unselected
    selected = [tensor for tensor in ready.tensors if tensor.name in ready.selection.names]
    kept = [note for tensor in selected if (note := kept_note(dropout, tensor))]
    report.notes = [*source.notes, *kept]
    report.unknown_classes = list(source.unknown_classes)
    report.channels_last = _channels_last(ready, dropout)
    return report


def _report(job: Job, size: int, tensors: list[TensorReport]) -> FileReport:
    status: Status = "planned" if job.writing.dry_run else "written"
    file = FileReport(job.source, job.output, job.stream, job.copy, size, status, tensors)
    file.mask = job.writing.mask
    return file


def derive_file(
    job: Job, dropout: Dropout, entry: dict[str, Any], write: Write, progress: Progress
) -> None:
    """Pass the bytes of the output to `write`, without writing a file.

    `entry` is the provenance entry to write; an older version may have recorded it.
    """
    with _prepared(job, dropout, entry) as ready:
        ready.write(write, progress, initial_reports(ready.tensors, ready.recipes))


class _Ready(NamedTuple):
    """An open source, and everything that is known before the first byte is written.

    `tensors` are the tensors to report on.
    """

    source: Source
    tensors: list[TensorInfo]
    selection: Selection
    recipes: Recipes
    segments: Iterable[Segment]
    size: int

    def write(self, write: Write, progress: Progress, reports: list[TensorReport]) -> None:
        def write_counted(data: bytes | memoryview) -> None:
            write(data)
            progress.advance(nbytes=len(data))

        augment(self.source, self.recipes, reports, self.segments, write_counted)
        self.source.finish()


@contextmanager
def _prepared(job: Job, dropout: Dropout, entry: dict[str, Any] | None = None) -> Iterator[_Ready]:
    with located(place_of(job.source)), closing(open_source(job.source)) as opened:
        mask = job.writing.mask
        source = opened if job.writing.in_place or mask else convert(opened, job.output)
        selection = select(dropout, source.tensors)
        # Evaluation mode drops nothing, but --concat repeats the tensors.
        grown = select(replace(dropout, eval=False), source.tensors) if dropout.eval else selection
        concat = job.writing.concat if grown.names else ()
        recipes = _recipes(source, selection, dropout, job, concat)
        tensors = source.tensors
        if mask:
            source = convert_to_mask(source, selection.names, job.output)
        if concat:
            source = Concatenated(source, grown.names, list(concat))
        if not mask:
            tensors = source.tensors
        provenance = None
        if job.writing.provenance:
            entry = entry or record(dropout, job.stream, job.copy, concat, mask=mask)
            provenance = extended(source.provenance, entry)
        yield _Ready(source, tensors, selection, recipes, *source.planned(provenance))


def _recipes(
    source: Source, selection: Selection, dropout: Dropout, job: Job, concat: tuple[int, ...] = ()
) -> Recipes:
    """The recipes of the selected tensors in each of the copies of one file."""
    make = partial(
        recipes_for,
        source,
        dropout,
        selection.names,
        job.stream,
        statistics=job.writing.statistics,
        sample=-(-job.writing.sample // max(1, len(concat))),
    )
    if not concat:
        return make(job.copy)
    return {
        label(name, copy): recipe for copy in concat if copy for name, recipe in make(copy).items()
    }


def _check_selection(ready: _Ready, dropout: Dropout) -> TensorError | None:
    """The error if nothing in this file is selected. Raises an error if --exact cannot be met."""
    for tensor in ready.tensors:
        if tensor.name in ready.selection.names:
            check_exact(dropout, tensor)
    return _unselected(ready.source, ready.tensors, ready.selection, dropout)


def _unselected(
    source: Source, tensors: list[TensorInfo], selection: Selection, dropout: Dropout
) -> TensorError | None:
    if selection.names or dropout.drops_nothing:
        return None
    others = "a numpy array" if source.holds_arrays else None
    if source.unknown_classes and not others:
        others = "other objects"
    return nothing_selected(dropout, tensors, selection.reasons, others)


def check_selected(path: str, dropout: Dropout) -> None:
    """Raise TensorError if nothing in this file is selected; ignore all other errors."""
    with located(place_of(path)):
        try:
            with closing(open_source(path)) as source:
                selection = select(dropout, source.tensors)
                error = _unselected(source, source.tensors, selection, dropout)
        except (DropcliError, OSError):
            return
        if error:
            raise error


def _channels_last(ready: _Ready, dropout: Dropout) -> dict[str, str]:
    """The `--over` that was probably meant, for selected tensors that look like (N, H, W, C)."""
    return {
        tensor.name: hint
        for tensor in ready.tensors
        if tensor.name in ready.selection.names
        and dropout.over
        and (hint := dropout.over.channels_last_hint(tensor.shape))
    }


def copy_file(
    job: Job, progress: Progress, transaction: Transaction | None = None, *, tensors: bool
) -> FileReport:
    """Copy a file; if it holds `tensors`, check first that it can be opened."""
    reports: list[TensorReport] = []
    with located(job.source):
        if tensors:
            with closing(open_source(job.source)) as source:
                reports = initial_reports(source.tensors, {})
        with closing(open_reader(job.source)) as reader:
            size = reader.size or 0
            check_output(job, size, transaction)
            if not job.writing.dry_run:
                with open_output(job, size, transaction) as output, located(job.source):
                    for start in range(0, size, _COPY_BYTES):
                        data = reader.read(start, min(_COPY_BYTES, size - start))
                        output.write(data)
                        progress.advance(nbytes=len(data))
                    reader.finish()
    return _report(job, size, reports)


def is_applied(job: Job, dropout: Dropout, *, strict: bool) -> FileReport | None:
    """Return a report without statistics if the last application to the source is this one.

    If `strict`, raises FileError if it is another application with the same stream and copy.
    """
    with located(job.source), closing(open_source(job.source)) as source:
        entries = source.provenance or []
        ours = record(dropout, job.stream, job.copy)
        if not (entries and is_same(entries[-1], ours)):
            if strict and entries and has_same_key(entries[-1], ours):
                raise FileError(
                    "other-settings",
                    "--resume: dropout was applied to this file with other settings",
                    "`dropcli info` shows them; without --resume dropout is applied again",
                )
            return None
        selection = select(dropout, source.tensors)
        recipes = _recipes(source, selection, dropout, job)
        report = _report(
            job, source.size, initial_reports(source.tensors, recipes, selection.reasons)
        )
    report.status = "skipped"
    return report
