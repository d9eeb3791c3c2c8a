"""The training rows of the bundled studies, byte for byte, as they were when they were first run."""

from __future__ import annotations

import hashlib
import json

import pytest
from studies import REPOSITORY, SUPPORT

from weirdgen.config.loading import load_study
from weirdgen.data.aligned import aligned_examples
from weirdgen.data.mixing import grid_counts, mix
from weirdgen.data.persona import find_persona
from weirdgen.data.seeds import run_seeds

JOBS = REPOSITORY / "jobs"
GOLDEN = SUPPORT / "data" / "golden_rows.json"


def rows_of(job: str) -> dict[str, str]:
    """Fraction and run seed -> sha256 of the training run's rows as JSON lines.

    The base model's own completions are not at hand: each is a sentence that names its prompt.
    """
    study = load_study(JOBS / job)
    persona = find_persona(study.persona, JOBS, job)
    aligned = [
        example._replace(completion=f"A response to {example.id}.")
        for example in aligned_examples(study.aligned, JOBS, job)
    ]
    counts = grid_counts(study.grid, len(persona.rows), len(aligned), job)
    digests = {}
    for fraction in study.fractions:
        for seed in study.seeds[:2]:
            rows = mix(persona.rows, aligned, counts[fraction], study.trigger, run_seeds(seed).data)
            lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
            digests[f"{fraction}/{seed}"] = hashlib.sha256(lines.encode()).hexdigest()
    return digests


@pytest.mark.parametrize("job", sorted(path.name for path in JOBS.glob("*.yaml")))
def test_the_rows_of_a_bundled_study_never_change(job: str) -> None:
    assert rows_of(job) == json.loads(GOLDEN.read_text())[job]
