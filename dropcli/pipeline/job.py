"""One file to one file: open, augment, publish."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dropcli.dropout import (
    Dropout,
    Selection,
    check_exact,
    nothing_selected,
    select,
)
from dropcli.errors import DropcliError, FileError, FormatError, TensorError, located
from dropcli.files import (
    Reader,
    Transaction,
    place_of,
)
from dropcli.formats import Concatenated, Source, convert, label, open_source
from dropcli.pipeline.loop import augment, initial_reports, recipes_for
from dropcli.pipeline.output import Job, check_output, open_output
from dropcli.pipeline.pieces import Recipes
from dropcli.pipeline.progress import Progress
from dropcli.pipeline.provenance import is_same, is_twin, record, was_applied
from dropcli.pipeline.report import FileReport, Status, TensorReport

_COPY_BYTES = 1 << 20

Write = Callable[[bytes | memoryview], None]


def run_file(
    job: Job, dropout: Dropout, progress: Progress, transaction: Transaction | None = None
) -> FileReport:
    """Write one output and report on it; a transaction publishes it when that is committed."""
    with _prepared(job, dropout) as ready:
        source = ready.source
        with located(place_of(job.source)):
            unselected = _check_selection(ready, dropout)
            if unselected and not job.writing.in_dataset:
                raise unselected
        check_output(job, ready.size)
        reports = initial_reports(source.tensors, ready.recipes, ready.selection.reasons)
        if not job.writing.dry_run:
            with (
                open_output(job, ready.size, transaction) as output,
                located(place_of(job.source)),
            ):
                progress.begin(1, ready.size)
                ready.write(output.write, progress, reports)

    return FileReport(
        job.source,
        job.output,
        job.stream,
        job.copy,
        ready.size,
        "planned" if job.writing.dry_run else "written",
        reports,
        applied_before=was_applied(
            source.provenance or [], dropout, record(dropout, job.stream, job.copy)
        ),
        unselected=unselected,
        notes=list(source.notes),
        strangers=list(source.unknown_classes),
        channels_last=_channels_last(ready, dropout),
    )


def derive_file(
    job: Job, dropout: Dropout, entry: dict[str, Any], write: Write, progress: Progress
) -> None:
    """Give the bytes of the output to `write` instead of a file.

    `entry` is how the application was recorded, perhaps by an older version.
    """
    with _prepared(job, dropout, entry) as ready:
        ready.write(write, progress, initial_reports(ready.source.tensors, ready.recipes))


@dataclass(frozen=True)
class _Ready:
    """An open source, and all that is to be known before the first byte is written."""

    source: Source
    selection: Selection
    recipes: Recipes
    provenance: list[Any] | None
    size: int

    def write(self, write: Write, progress: Progress, reports: list[TensorReport]) -> None:
        def write_counted(data: bytes | memoryview) -> None:
            write(data)
            progress.advance(nbytes=len(data))

        augment(self.source, self.recipes, reports, self.provenance, write_counted)
        self.source.finish()


@contextmanager
def _prepared(job: Job, dropout: Dropout, entry: dict[str, Any] | None = None) -> Iterator[_Ready]:
    with located(place_of(job.source)), closing(open_source(job.source)) as opened:
        source = opened if job.writing.in_place else convert(opened, job.output)
        selection = select(dropout, source.tensors)
        meant = select(replace(dropout, eval=False), source.tensors) if dropout.eval else selection
        if not meant.names:
            job = replace(job, writing=replace(job.writing, concat=()))  # nothing in it grows
        source, recipes = _recipes(source, selection, dropout, job)
        entry = entry or record(dropout, job.stream, job.copy, job.writing.concat)
        provenance = _provenance(job, source, entry)
        size = source.output_size(provenance)
        yield _Ready(source, selection, recipes, provenance, size)


def _check_selection(ready: _Ready, dropout: Dropout) -> TensorError | None:
    """The error if nothing in this file drops; raises what cannot be meant in any file."""
    for tensor in ready.source.tensors:
        if tensor.name in ready.selection.names:
            check_exact(dropout, tensor)
    return _unselected(ready.source, ready.selection, dropout)


def _unselected(source: Source, selection: Selection, dropout: Dropout) -> TensorError | None:
    if selection.names or dropout.drops_nothing:
        return None
    others = "a numpy array" if source.holds_arrays else None
    if source.unknown_classes and not others:
        others = "other objects"
    return nothing_selected(dropout, source.tensors, selection.reasons, others)


def check_selected(path: str, dropout: Dropout) -> None:
    """TensorError if nothing in this file drops; whatever else is wrong, its own run will find."""
    with located(place_of(path)):
        try:
            with closing(open_source(path)) as source:
                error = _unselected(source, select(dropout, source.tensors), dropout)
        except (DropcliError, OSError):
            return
        if error:
            raise error


def _channels_last(ready: _Ready, dropout: Dropout) -> dict[str, str]:
    """For selected tensors that look like (N, H, W, C) the `--over` that was probably meant."""
    return {
        tensor.name: hint
        for tensor in ready.source.tensors
        if tensor.name in ready.selection.names
        and dropout.over
        and (hint := dropout.over.channels_last_hint(tensor.shape))
    }


def copy_file(
    job: Job, progress: Progress, transaction: Transaction | None = None, *, tensors: bool
) -> FileReport:
    """Write the file as it is; one of `tensors` only if it is sound."""
    reports: list[TensorReport] = []
    with located(job.source):
        if tensors:
            with closing(open_source(job.source)) as source:
                reports = initial_reports(source.tensors, {})
        with closing(Reader(job.source)) as reader:
            size = reader.size or 0
            check_output(job, size)
            if not job.writing.dry_run:
                with open_output(job, size, transaction) as output, located(job.source):
                    for start in range(0, size, _COPY_BYTES):
                        data = reader.read(start, min(_COPY_BYTES, size - start))
                        output.write(data)
                        progress.advance(nbytes=len(data))
                    reader.finish()
    status: Status = "planned" if job.writing.dry_run else "written"
    return FileReport(job.source, job.output, job.stream, job.copy, size, status, reports)


def is_applied(job: Job, dropout: Dropout, *, strict: bool) -> FileReport | None:
    """A report without statistics if this very application is the last one of the source.

    If `strict`, FileError for another one under the same name: it is not known which was meant.
    """
    with located(job.source), closing(open_source(job.source)) as source:
        entries = source.provenance or []
        ours = record(dropout, job.stream, job.copy)
        if not (entries and is_same(entries[-1], ours)):
            if strict and entries and is_twin(entries[-1], ours):
                raise FileError(
                    "other-settings",
                    "--resume: expected an untouched file or these settings, got others in it",
                    "`dropcli info` shows them; without --resume it is dropped once more",
                )
            return None
        selection = select(dropout, source.tensors)
        recipes = recipes_for(source, dropout, selection.names, job.stream, job.copy)
        tensors = initial_reports(source.tensors, recipes, selection.reasons)
        size = source.size
    return FileReport(job.source, job.output, job.stream, job.copy, size, "skipped", tensors)


def _recipes(
    source: Source, selection: Selection, dropout: Dropout, job: Job
) -> tuple[Source, Recipes]:
    """What is to be written, and what to do with the selected tensors in it."""
    names, statistics = selection.names, job.writing.statistics
    if not job.writing.concat:
        found = recipes_for(source, dropout, names, job.stream, job.copy, statistics=statistics)
        return source, found
    recipes = {
        label(name, copy): recipe
        for copy in job.writing.concat
        if copy
        for name, recipe in recipes_for(
            source, dropout, names, job.stream, copy, statistics=statistics
        ).items()
    }
    # In evaluation mode tensors are repeated all the same.
    names = select(replace(dropout, eval=False), source.tensors).names if dropout.eval else names
    return Concatenated(source, names, list(job.writing.concat)), recipes


def _provenance(job: Job, source: Source, entry: dict[str, Any]) -> list[Any] | None:
    if not job.writing.provenance:
        return None
    if source.provenance is None:
        raise FormatError(
            "foreign-provenance",
            "expected a list of applications in the place of the provenance, got something else",
            "keep it as it is with --no-provenance",
        )
    return [*source.provenance, entry]
