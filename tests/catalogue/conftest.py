"""What the modules of the catalogue share."""

import os
from contextlib import nullcontext

import pytest

from tests.catalogue.refusal import Refusal, Refuse, check_refusal, snapshot
from tests.conftest import Run, redirected


@pytest.fixture
def refuse(run: Run) -> Refuse:
    """Run the command in this process, for its text and for its JSON; both must fail alike."""

    def refuse(*arguments: object, exit_code: int = 1, stdin: str | None = None) -> Refusal:
        before = snapshot()
        refusals = []
        for more in ((), ("--json",)):
            with redirected(0, stdin, os.O_RDONLY) if stdin else nullcontext():
                result = run(*arguments, *more)
            assert bool(result.out) == bool(more)
            refusals.append(check_refusal(before, exit_code, result.code, result.out, result.err))
        text, document = refusals
        assert text.hint == document.hint  # lines differ where the safetensors library's do
        return document

    return refuse
