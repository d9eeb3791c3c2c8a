"""How a run ends, and what it says of a death."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from weirdgen.runner.recovery import why
from weirdgen.runner.run import RunResult


@pytest.mark.parametrize("complete", [True, False])
def test_a_run_that_leaves_something_missing_does_not_end_well(complete: bool):
    state: Any = SimpleNamespace(complete=complete)
    assert RunResult(state, [], Counter()).exit_code == (not complete)


def test_the_cause_of_a_death_is_told():
    error = RayError(
        "The actor died.\n\tclass_name: E\n\tpid: 1\nIt was killed by the OOM killer.\n"
    )
    assert why(error) == "RayError: The actor died. It was killed by the OOM killer."
