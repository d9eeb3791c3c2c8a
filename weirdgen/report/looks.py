"""What of a study its results cannot tell: the looks that were declared and had, training runs that failed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from weirdgen.config.claims import ADAPTERS
from weirdgen.config.study import Study
from weirdgen.stats.analysis import ClaimVerdict
from weirdgen.stats.multiplicity import InterimLooks
from weirdgen.stats.verdict import NOT_GIVEN
from weirdgen.storage.artifacts import ArtifactStore

LOOKS = "looks.json"


def declared_looks(study: Study, store: ArtifactStore) -> InterimLooks | None:
    """The looks that hold: those on record once a verdict was given, else the study file's.

    None for a study without a grid. More seeds than were declared come too late: looking after each
    new seed until a claim is clear finds too much.
    """
    if not study.planned_looks:
        return None
    return InterimLooks(tuple(_record(study, store).get("declared", study.planned_looks)))


def _record(study: Study, store: ArtifactStore) -> dict[str, list[int]]:
    """The looks on record, as `record_looks` writes them; empty before the first verdict."""
    return json.loads(store.read(f"{study.name}/{LOOKS}") or b"{}")


def record_looks(
    study: Study, store: ArtifactStore, looks: InterimLooks | None, verdicts: Sequence[ClaimVerdict]
) -> None:
    """Notes with how many seeds, failed training runs included, and samples verdicts were given now, if any were."""
    had = {
        at.n_trained
        for verdict in verdicts
        for at in verdict.groups
        if verdict.reason not in NOT_GIVEN and at.group != ADAPTERS
    }
    if looks is None or not had:
        return
    before = _record(study, store)
    samples = {study.evaluate.samples_per_question, *before.get("samples", ())}
    content = {
        "declared": list(looks.seeds),
        "looked": sorted(had.union(before.get("looked", ()))),
        "samples": sorted(samples),
    }
    store.write(f"{study.name}/{LOOKS}", (json.dumps(content) + "\n").encode())


def look_cautions(study: Study, store: ArtifactStore) -> list[str]:
    """What was looked at that no adjustment knows of: verdicts before more samples were asked for."""
    samples = _record(study, store).get("samples", [])
    if len(samples) < 2:
        return []
    numbers = ", ".join(map(str, samples))
    return [
        f"Verdicts were given with {numbers} samples a question: each is a look at the claims, for which "
        "nothing is adjusted. The number that was planned before the first counts."
    ]
