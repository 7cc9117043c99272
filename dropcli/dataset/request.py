"""Where outputs go and how inputs are called, settled before any work."""

from dataclasses import replace

from dropcli.dataset.discover import Found, discover, is_several
from dropcli.dataset.journal import settings_of
from dropcli.dataset.outputs import check_folder, file_target, is_made_folder
from dropcli.dataset.plan import Request
from dropcli.dropout import Dropout
from dropcli.errors import UsageError
from dropcli.files import is_folder, is_piped
from dropcli.pipeline import Job, Notice, stream_of


def choose_output(output: str | None, in_place: bool) -> str | None:
    """What `-o` and `--in-place` come to: None to replace the inputs."""
    if in_place and output is not None:
        raise UsageError("two-outputs", "expected -o or --in-place, got both")
    if not in_place and output is None:
        raise UsageError(
            "no-output",
            "expected an output, got none",
            "add -o OUTPUT, -o - for standard output, or --in-place to replace the input",
        )
    return output


def is_dataset(operands: list[str], request: Request) -> bool:
    """Whether this is more than one file into one; UsageError for options that need more."""
    if is_several(operands) or (request.copies and not request.concat):
        return True
    output = request.output
    into_folder = output is None or is_made_folder(output) or is_folder(output)
    for option, given in (
        ("--resume", request.resume),
        ("--fail-fast", request.fail_fast),
        ("--copy-others", request.copy_others),
    ):
        if given and not into_folder:
            raise UsageError(
                "one-file",
                f"{option}: expected a folder or several files, got one file",
                "run it without: one file is done from its beginning",
            )
        if given:
            return True
    return False


def job_of(source: str, request: Request) -> Job:
    """One file into one."""
    target = _target_of(source, request.output)
    return Job(source, target, request.stream or stream_of(source), writing=request.writing)


def stream_notices(source: str, request: Request, dropout: Dropout, *, drawn: bool) -> list[Notice]:
    """The warning about a pipe: with the same seed all of them get the same mask.

    `drawn` says that the seed was not given, so that another run has another one.
    """
    if drawn or request.stream or dropout.drops_nothing or dropout.rng == "torch":
        return []
    if not is_piped(source):
        return []
    return [
        Notice(
            "stream-of-pipe",
            "input from a pipe has no name, so every piped file gets the same mask with this seed; "
            "give each a name with --stream",
        )
    ]


def prepare_several(
    operands: list[str],
    listed: list[str] | None,
    request: Request,
    dropout: Dropout,
    *,
    drawn: bool,
) -> tuple[Found, Request, Dropout]:
    """Find the files of a dataset, and what that settles of the request and of the settings.

    `drawn` says that the seed was not given.
    """
    if request.output is not None:
        check_folder(request.output, copies=bool(request.copies))
    found = discover(operands, listed, request.output)
    walked = found.folders[0] if found.folders else None
    request = replace(
        request, walked=walked, seed_drawn=drawn and not dropout.eval, in_dataset=True
    )
    if drawn and request.resume:
        dropout = _resumed(request, dropout)
    _check_several(found, request, dropout)
    return found, request, dropout


def _check_several(found: Found, request: Request, dropout: Dropout) -> None:
    """UsageError for settings that make sense for one input alone."""
    if dropout.rng == "torch" and len(found.inputs) != 1:
        raise UsageError(
            "torch-several",
            "--rng torch: expected one input, got several",
            "torch's masks depend on the seed alone: all files would have the same",
        )
    if request.stream and len(found.inputs) != 1:
        raise UsageError(
            "stream-of-several",
            "--stream: expected one input, got several",
            "files of a dataset are called by their paths in it",
        )


def _resumed(request: Request, dropout: Dropout) -> Dropout:
    """Resume with the seed that was drawn when the run began."""
    settings = settings_of(request.journal) if request.journal else None
    seed = (settings or {}).get("seed")
    if request.output is None and settings is None and not dropout.eval:
        raise UsageError(
            "resume-without-seed",
            "--resume: expected --seed with --in-place, got none",
            "`dropcli info FILE` of a file that is done shows the seed",
        )
    return replace(dropout, seed=seed) if isinstance(seed, int) else dropout


def _target_of(source: str, output: str | None) -> str:
    """Where the output goes; into a folder it keeps the input's name, as with `cp`."""
    if output is None:
        if is_piped(source):
            raise UsageError(
                "in-place-pipe", f"--in-place: expected a file, got '{source}'", "use -o -"
            )
        return source
    return file_target(source, output)
