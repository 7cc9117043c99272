"""What the modules of the catalogue share."""

import pytest

from tests.catalogue.refusal import Refuse, check_refusal, snapshot
from tests.conftest import Run


@pytest.fixture
def refuse(run: Run) -> Refuse:
    """Run the command in this process; it must fail. Gives the error's line."""

    def refuse(*arguments: object, code: int = 1, notes: int = 0) -> str:
        before = snapshot()
        result = run(*arguments)
        return check_refusal(before, code, result.code, result.out, result.err, notes)

    return refuse
