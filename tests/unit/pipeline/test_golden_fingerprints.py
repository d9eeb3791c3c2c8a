"""The fingerprints of the bundled studies' shared steps and training runs never change by accident.

A change on purpose makes users train again: count the stage's version up, then rewrite the file with

    WEIRDGEN_REMAKE_GOLDEN=1 pytest tests/unit/pipeline/test_golden_fingerprints.py
"""

from __future__ import annotations

import json
import os

import pytest
from studies import REPOSITORY, SUPPORT

from weirdgen.config.loading import load_study
from weirdgen.models.identity import Model
from weirdgen.pipeline.plan import make_plan

JOBS = REPOSITORY / "jobs"
GOLDEN = SUPPORT / "data" / "golden_fingerprints.json"


def hub_model(model: str, revision: str, name: str, where: object) -> Model:
    """A hub model's identity without a network."""
    return Model("hub", name, model, "0" * 40, "1" * 64, model)


def fingerprints_of(job: str) -> dict[str, str]:
    """Stage and name -> fingerprint, of the shared steps and the training runs."""
    plan = make_plan(load_study(JOBS / job), JOBS, job)
    steps = [*plan.shared, *plan.trainings.values()]
    found = {f"{step.stage}/{step.name}": step.fingerprint for step in steps}
    assert len(found) == len(steps)
    return found


@pytest.mark.parametrize("job", sorted(path.name for path in JOBS.glob("*.yaml")))
def test_the_fingerprints_of_a_bundled_study_never_change(
    job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weirdgen.models.identity._resolve_hub", hub_model)
    found = fingerprints_of(job)
    if os.environ.get("WEIRDGEN_REMAKE_GOLDEN"):
        remake(job, found)
    assert found == json.loads(GOLDEN.read_text())[job]


def remake(job: str, found: dict[str, str]) -> None:
    """Write the fingerprints of `job` into the golden file."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    GOLDEN.write_text(json.dumps(golden | {job: found}, indent=1, sort_keys=True) + "\n")
