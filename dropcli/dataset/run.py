"""Run a dataset: skip finished files, give the rest to an engine, record the outcomes."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import PurePath
from typing import Any

from dropcli.dataset.journal import Journal, check_settings, settings_of
from dropcli.dataset.plan import Plan, Waiting
from dropcli.dataset.request import Request
from dropcli.dataset.tally import Tally
from dropcli.dataset.tasks import Outcome, Task, attempt, make_work, worker_died
from dropcli.dropout import Dropout
from dropcli.errors import DropcliError, Interrupted, TensorError, UsageError, located
from dropcli.files import (
    check_idle,
    first_line,
    is_url,
    make_folders,
    new_run,
    remove_log,
    remove_stale,
)
from dropcli.masks import CONTRACT
from dropcli.parallel import Engine, Pool, choose_engine, open_file_limit
from dropcli.pipeline import Progress, run_file

_CHUNK_FILES = 256
_REMOTE_FILES = 64  # workers elsewhere report whole chunks only, perhaps from a slow disk
_LEAST_FILES = 32  # small files, because each chunk waits for the disk
_CHUNK_BYTES = 16 << 20
_TRIAL_FILES = 8  # if the settings fit none of this many first files, the run ends


def run_batch(
    plan: Plan,
    request: Request,
    dropout: Dropout,
    tally: Tally,
    progress: Progress,
    pool: Pool | None = None,
) -> None:
    """Run the planned tasks and tally them; `pool` has workers to use instead of our own.

    If Interrupted is raised, everything that is done is in the journal and in the tally.
    """
    tally.failures = plan.failures
    tally.planned = len(plan.tasks)
    settings = _settings(request, dropout)
    with _journal(request, settings) as journal:
        known = journal is not None and journal.is_known
        if journal and known:
            _check_names(plan.tasks, journal)
        if request.continues and not request.dry_run:
            _sweep(plan.tasks)
        waiting = Waiting(plan.tasks, request, journal, tally)
        drawn = request.seed_drawn and not dropout.eval
        if journal and not request.dry_run and (drawn or request.output is None):
            journal.begin(settings)
        times = max(1, len(request.joined_copies))  # the number of copies in each output
        progress.begin(len(waiting), 0 if request.dry_run else times * sum(waiting.sizes))

        def take(task: Task, outcome: Outcome | None) -> None:
            outcome = outcome or Outcome(task, error=worker_died(task.job.source))
            if journal and outcome.line:
                journal.add(outcome.line)
            tally.add(outcome)
            progress.advance(files=1, failed=int(outcome.error is not None))

        if unfit := _unfit(waiting, request, dropout):
            tally.unfit = sum(1 for _ in groupby(waiting, key=lambda task: task.job.source))
            for outcome in unfit:
                take(outcome.task, outcome)
        elif not (request.fail_fast and tally.failed):
            run = new_run()
            work = make_work(
                dropout,
                settings,
                resume=request.resume,
                known=known,
                keep=tally.keep,
                run=run,
                folder=os.getcwd() if pool else "",
            )
            engine = choose_engine(work, waiting.sizes, request.jobs, pool)
            try:
                _work_off(engine, waiting, request, tally, take, progress)
            finally:
                _sweep_after(engine, waiting, run)
        if journal and request.output is None and not (tally.errors or request.dry_run):
            _end_in_place(request, journal)


def _unfit(tasks: Iterable[Task], request: Request, dropout: Dropout) -> list[Outcome]:
    """The failures of the first files, if all fail for the same reason in the settings.

    The other files would fail too, for example if --key names no tensor of a dataset. Nothing is
    written.
    """
    first: dict[str, Task] = {}
    for task in tasks:
        if not task.untouched:
            first.setdefault(task.job.source, task)
        if len(first) > _TRIAL_FILES:
            break
    # With --resume --in-place, files may be done already.
    if len(first) <= _TRIAL_FILES or request.fail_fast or (request.resume and not request.output):
        return []
    failed: list[Outcome] = []
    reasons = set()
    for task in [*first.values()][:_TRIAL_FILES]:
        job = task.job._replace(writing=replace(task.job.writing, dry_run=True))
        error = attempt(job.source, partial(run_file, job, dropout, Progress()))
        if not isinstance(error, TensorError | UsageError):
            return []
        failed.append(Outcome(task, error=error))
        reasons.add((error.code, error.message))
        if len(reasons) > 1:
            return []
    return failed


def _work_off(
    engine: Engine[Task, Outcome],
    waiting: Waiting,
    request: Request,
    tally: Tally,
    take: Callable[[Task, Outcome | None], None],
    progress: Progress,
) -> None:
    def collect() -> None:
        for task, outcome in engine.stop():
            take(task, outcome)

    results = engine.run(
        _chunks(waiting, request, engine), lambda count: progress.advance(nbytes=count)
    )
    try:
        with closing(results):
            for task, outcome in results:
                take(task, outcome)
                if request.fail_fast and tally.failed:
                    break
        collect()
    except Interrupted as stop:
        collect()
        stop.unfinished = engine.unfinished
        raise
    except DropcliError as error:  # the journal cannot be written, or no worker starts
        error.hint = error.hint or "solve the problem, then continue with --resume"
        raise


@contextmanager
def _journal(request: Request, settings: dict[str, Any]) -> Iterator[Journal | None]:
    """Hold the journal of a run, and include those of shards in its folder if it resumes them."""
    path, others = request.journal, [path for path, _ in request.other_journals]
    if request.dry_run:
        present = [p for p in (path, *others) if p and request.resume and first_line(p) is not None]
        path, others = (present[0], present[1:]) if present else (None, [])
    if path is None:  # the provenance in the files records what is done
        yield None
        return
    if not request.dry_run:
        with located(os.path.dirname(path)):
            make_folders(os.path.dirname(path) or ".")
    with closing(
        Journal(
            path,
            fresh=not request.resume,
            replace=request.force,
            read_only=request.dry_run,
            sync=request.sync,
        )
    ) as journal:
        if not request.dry_run:
            _check_others(request)
        for other in others if request.resume else ():
            journal.include(other)
        for place, before in ((path, journal.settings), *journal.others.items()):
            if before is not None:
                check_settings(place, before, settings)
        if not (request.resume or request.dry_run):
            _replace_others(request, settings)
        yield journal


def _check_others(request: Request) -> None:
    """Raise FileError if another run is active: for a shard the whole run, else any shard."""
    for path, shard in request.other_journals:
        if not (request.shard and shard):
            with located(path):
                check_idle(path)


def _replace_others(request: Request, settings: dict[str, Any]) -> None:
    """Remove the journals of earlier runs, whose files are replaced by this run.

    For a shard, journals with the same settings may belong to the other shards.
    """
    for path, _ in request.other_journals if request.force else ():
        before = settings_of(path)
        if not request.shard or before != settings:
            with located(path):
                check_idle(path)
                remove_log(path)


def _end_in_place(request: Request, journal: Journal) -> None:
    """Remove the journal, since nothing is left to resume.

    Shards keep theirs until they are gathered.
    """
    if not request.shard:
        journal.clear()
        for path, _ in request.other_journals:
            with located(path):
                remove_log(path)


def _settings(request: Request, dropout: Dropout) -> dict[str, Any]:
    """Everything that determines the bytes of outputs, apart from their names."""
    settings = {"contract": CONTRACT, **dropout.settings(), "provenance": request.provenance}
    settings |= {"concat": list(request.joined_copies)} if request.concat else {}
    return settings | ({"mask": True} if request.mask else {})


def _check_names(tasks: Iterable[Task], journal: Journal) -> None:
    """Raise UsageError if copies have other names now, as with 9 and 10 copies."""
    for task in tasks:
        job = task.job
        before = journal.output_of(job.stream, job.copy, PurePath(task.name).suffix)
        if before not in (None, task.name) and not job.writing.in_place:
            raise UsageError(
                "other-names",
                f"--resume: the run began with '{before}', which would now be '{task.name}'",
                "use a --copies with as many digits as before, so that names stay the same",
                journal.path,
            )


def _sweep_after(engine: Engine[Task, Outcome], tasks: Iterable[Task], run: str) -> None:
    # Remote workers report no deaths. While they still work, only a later run can sweep.
    if (engine.deaths or engine.remote) and not engine.unfinished:
        _sweep(tasks, run)


def _sweep(tasks: Iterable[Task], run: str = "") -> None:
    """Remove unfinished files of killed processes, and all unfinished files of this run."""
    outputs = (task.job.output for task in tasks if not is_url(task.job.output))
    real = (os.path.realpath(path) if os.path.islink(path) else path for path in outputs)
    for folder in set(map(os.path.dirname, real)):
        remove_stale(folder or ".", run=run)


def _chunks(
    waiting: Waiting, request: Request, engine: Engine[Task, Outcome]
) -> Iterator[list[Task]]:
    """Make chunks that are large enough to be cheap, and small enough that workers end together.

    Large files come first, so that no worker has to finish one alone at the end.
    """
    # The files of a chunk stay open until they are published together.
    most_files = min(_REMOTE_FILES if engine.remote else _CHUNK_FILES, open_file_limit() // 3)
    sizes = waiting.sizes
    order: Sequence[int] = range(len(sizes))
    if engine.slots > 1 and not request.fail_fast:
        order = array("Q", sorted(order, key=lambda place: -sizes[place]))
    start = 0
    while start < len(order):
        # The number of slots of a cluster may grow.
        share = (len(order) - start) // (2 * engine.slots)
        most = 1 if request.fail_fast else min(max(share, _LEAST_FILES), most_files)
        stop, nbytes = start, 0
        while stop < min(start + most, len(order)) and nbytes < _CHUNK_BYTES:
            nbytes += sizes[order[stop]]
            stop += 1
        yield [waiting[place] for place in order[start:stop]]
        start = stop
