"""The work of `dropcli apply` and `dropcli.apply`: check everything first, then run."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Unpack

from dropcli.dataset.discover import is_several
from dropcli.dataset.plan import plan_batch, shared_streams
from dropcli.dataset.request import Request, is_dataset, job_of, prepare_several, stream_notices
from dropcli.dataset.run import run_batch
from dropcli.dataset.tally import Samples, Tally
from dropcli.dropout import Dropout, check_torch_input
from dropcli.errors import DropcliError, Interrupted, UsageError
from dropcli.files import check_urls, is_url
from dropcli.parallel import Threads, workers_of
from dropcli.pipeline import (
    SAMPLE,
    SAMPLE_OF_ALL,
    FileReport,
    Job,
    Notice,
    Progress,
    Report,
    SeededSettings,
    check_selected,
    choose_settings,
    run_file,
    settings_notices,
)
from dropcli.report import Details, check_stats_path, has_histograms, load_page, write_stats

_LOOKED_AT = 4  # files that are searched for images


class Application(ABC):
    """An application that is ready to run. `notices` are warnings that are known before the run.

    `paths` are the paths that it reads and writes; `made` is a folder that it creates.
    """

    def __init__(
        self,
        request: Request,
        dropout: Dropout,
        notices: Iterable[Notice],
        paths: Iterable[str],
        made: str | None,
    ) -> None:
        self.request = request
        self.dropout = dropout
        self.details = Details()
        self.notices = [*settings_notices(dropout), *notices]
        if request.stats:
            replacing = request.continues or request.dry_run
            check_stats_path(request.stats, paths, replace=replacing, made=made)

    def run(self, progress: Progress) -> Report:
        """Do the work, and write the report to the requested file.

        Raises:
            DropcliError: nothing was done. Failures of single files in a dataset are in the report.
        """
        report = Report("mask" if self.request.mask else "apply", self.dropout.settings())
        for notice in self.notices:
            report.notices.add(notice, number=-1)
        pictured = self._pictured()  # before the work, because inputs may be replaced
        self._run(report, progress)
        self.details = replace(self.details, **pictured)
        if self.request.stats and not self.request.dry_run:
            write_stats(self.request.stats, report, self.details, replace=self.request.continues)
        return report

    def _pictured(self) -> dict[str, Any]:
        """Details with samples of the first output that has images, if the report shows them."""
        if not self.request.makes_page:
            return {}
        from dropcli.report import pictures_of

        for job in islice(self._jobs(), _LOOKED_AT):
            pictures, note = pictures_of(job.source, self.dropout, job.stream, job.copy)
            if pictures or note:
                return {"pictures": pictures, "pictured": job.output, "pictures_note": note}
        return {}

    @abstractmethod
    def _jobs(self) -> Iterator[Job]:
        """The jobs of the files in which tensors drop."""

    @abstractmethod
    def _run(self, report: Report, progress: Progress) -> None: ...


class SingleFile(Application):
    """One input file and one output file."""

    def __init__(self, source: str, request: Request, dropout: Dropout) -> None:
        self.job = job_of(source, request)
        self.file: FileReport  # set when it has run
        made = os.path.dirname(self.job.output) if self.job.writing.make_folder else None
        notices = stream_notices(source, request, dropout)
        super().__init__(request, dropout, notices, [source, self.job.output], made)

    def _jobs(self) -> Iterator[Job]:
        yield self.job

    def _run(self, report: Report, progress: Progress) -> None:
        with Threads(1) as pool:
            if self.request.makes_page:
                pool.submit(load_page)
            self.file = run_file(self.job, self.dropout, progress)
        report.entries.append(self.file)
        samples = {t.name: t.sample for t in self.file.tensors if t.sample}
        self.details = Details(samples)
        for notice in self.file.notices():
            report.notices.add(notice, self.file.source)


class Dataset(Application):
    """Many files, each of which can fail alone; `tally` has the outcomes."""

    def __init__(
        self, operands: list[str], listed: list[str] | None, request: Request, dropout: Dropout
    ) -> None:
        found, request, dropout = prepare_several(operands, listed, request, dropout)
        if listed is None and not is_several(operands) and not request.resume:
            check_selected(operands[0], dropout)  # before it is copied several times
        if request.sample:
            outputs = len(found.inputs) * max(1, request.copies)
            request = replace(request, sample=max(1, SAMPLE_OF_ALL // max(1, outputs)))
        self._plan = plan_batch(request, found)
        notices = [Notice("link-to-above", note) for note in found.notes]
        if not dropout.drops_nothing:
            notices += shared_streams(self._plan.tasks)
        jobs = (task.job for task in self._plan.tasks)
        paths = chain.from_iterable((job.source, job.output) for job in jobs)
        journal = [request.journal] if request.journal else []
        super().__init__(request, dropout, notices, chain(paths, journal), request.output)
        self.errors: list[DropcliError] = []
        others = found.part(request.shard).others if request.shard else found.others
        left = 0 if request.copy_others else len(others)
        self.tally = Tally(
            keep=request.keep_files,
            kept_names=found.kept_names,
            left=left,
            samples=Samples(len(self._plan.tasks)),
        )

    def _jobs(self) -> Iterator[Job]:
        return (task.job for task in self._plan.tasks if not task.untouched)

    def _run(self, report: Report, progress: Progress) -> None:
        tally = self.tally
        tally.notices = report.notices
        try:
            with workers_of(self.request.executor, self.request.scheduler) as pool:
                run_batch(self._plan, self.request, self.dropout, tally, progress, pool)
        except Interrupted as stop:
            stop.done = f"{tally.done:,} of {tally.planned:,} files are done"
            if self.request.seed_drawn and self.request.journal is None and not self.dropout.eval:
                stop.words = ("--seed", str(self.dropout.seed))
            raise
        report.entries += tally.files
        self.details = Details(tally.samples.all(), tally.names.rows())
        self.errors = tally.errors
        if self._needs_selection and (error := tally.nothing_selected):
            self.errors.append(error)
            report.failed = True
        report.errors = [error.document() for error in self.errors]

    @property
    def _needs_selection(self) -> bool:
        """Whether it is an error that nothing was selected.

        A run with nothing left to do has said so before, and a shard sees only its own files.
        """
        request = self.request
        gathers = request.resume and bool(request.other_journals)
        can_judge = not (request.shard or self.dropout.drops_nothing)
        return can_judge and bool(self.tally.written or gathers)


def prepare(
    operands: list[str],
    listed: list[str] | None,
    request: Request,
    **settings: Unpack[SeededSettings],
) -> SingleFile | Dataset:
    """Prepare a run, and raise everything that would prevent it before any work."""
    if request.output is None and (url := next(filter(is_url, operands + (listed or [])), None)):
        message = "--in-place: objects in a store are not replaced in place"
        raise UsageError("in-place-store", message, "write to another prefix with -o", url)
    check_urls([*operands, *(listed or ()), settings.get("like")])
    check_urls([request.output, request.stats], written=True)
    dropout, drawn = choose_settings(**settings)
    check_torch_input(dropout.rng, request.stream, request.copies or None)
    sample = SAMPLE if request.stats and has_histograms(request.stats) else 0
    request = replace(request, seed_drawn=drawn, sample=sample)
    if listed is None and not is_dataset(operands, request):
        return SingleFile(operands[0], request, dropout)
    return Dataset(operands, listed, request, dropout)
