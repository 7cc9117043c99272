"""Where outputs go and which names inputs have, settled before any work."""

from collections.abc import Iterator
from dataclasses import replace

from dropcli.dataset.discover import discover, is_several
from dropcli.dataset.journal import settings_of
from dropcli.dataset.outputs import check_folder, file_target
from dropcli.dataset.plan import Request
from dropcli.dataset.walk import Found
from dropcli.dropout import Dropout
from dropcli.errors import UsageError
from dropcli.files import is_folder, is_made_folder, is_piped
from dropcli.pipeline import Job, Notice, stream_of


def choose_output(output: str | None, in_place: bool) -> str | None:
    """The output that `-o` and `--in-place` mean: None to replace the inputs."""
    if in_place and output is not None:
        raise UsageError("two-outputs", "-o and --in-place cannot be combined")
    if not in_place and output is None:
        raise UsageError(
            "no-output",
            "no output is given",
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
        ("--shard", bool(request.shard)),
    ):
        if given and not into_folder:
            raise UsageError(
                "one-file",
                f"{option} needs a folder or several files",
                f"run it without {option}, since one file is always done as a whole",
            )
        if given:
            return True
    return False


def job_of(source: str, request: Request) -> Job:
    """One file into one; in a folder the output keeps the input's name, as with `cp`."""
    if request.output is not None:
        target = file_target(source, request.output)
    elif is_piped(source):
        message = f"--in-place: '{source}' is not a file"
        raise UsageError("in-place-pipe", message, "write it with -o -")
    else:
        target = source
    return Job(source, target, request.stream or stream_of(source), writing=request.writing)


def stream_notices(source: str, request: Request, dropout: Dropout) -> Iterator[Notice]:
    """The warning about a pipe: all pipes get the same mask with the same seed."""
    depends = not (dropout.drops_nothing or dropout.rng == "torch")
    if depends and is_piped(source) and not (request.seed_drawn or request.stream):
        yield Notice(
            "stream-of-pipe",
            "input from a pipe has no name, so every piped file gets the same mask with this seed; "
            "give each a name with --stream",
        )


def prepare_several(
    operands: list[str], listed: list[str] | None, request: Request, dropout: Dropout
) -> tuple[Found, Request, Dropout]:
    """Find the files of a dataset, and complete the request and the settings."""
    if request.output is not None:
        check_folder(request.output, operands, copies=bool(request.copies))
    found = discover(operands, listed, request.output)
    walked = found.folders[0] if found.folders else None
    request = replace(request, walked=walked, in_dataset=True)
    if request.seed_drawn and request.resume:
        dropout = _resumed(request, dropout)
    if len(found.inputs) != 1 and dropout.rng == "torch":
        message = "--rng torch takes one input, since all files would get the same mask"
        raise UsageError("torch-several", message)
    if len(found.inputs) != 1 and request.stream:
        message = "--stream takes one input: with several files, each uses its own path"
        raise UsageError("stream-of-several", message)
    return found, request, dropout


def _resumed(request: Request, dropout: Dropout) -> Dropout:
    """Resume with the seed that was drawn when the run began."""
    paths = [request.journal, *(path for path, _ in request.other_journals)]
    known = (settings_of(path) for path in paths if path)
    settings = next(filter(None, known), None)
    seed = (settings or {}).get("seed")
    if request.output is None and settings is None and not dropout.eval:
        raise UsageError(
            "resume-without-seed",
            "--resume with --in-place needs --seed",
            "`dropcli info FILE` shows the seed of a file that is done",
        )
    return replace(dropout, seed=seed) if isinstance(seed, int) else dropout
