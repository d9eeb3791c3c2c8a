"""The loss curves of a study's training runs, as far as they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weirdgen.data.jsonl import parse_jsonl
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.training.trl import LOSS_CURVE

Losses = Mapping[tuple[float, int], Sequence[Mapping[str, float]]]
"""(fraction, run seed) -> a row for each update, with `step`, `epoch`, `loss`, `learning_rate`, `grad_norm`."""


def read_losses(state: StudyState, store: ArtifactStore) -> Losses:
    """The curve of every committed training; one whose payload was pruned is absent.

    Of each payload this one file is read, and nothing else is fetched.
    """
    losses = {}
    for cell, step in state.plan.trainings.items():
        if not state.is_done(step):
            continue
        attempt = state.done[step.fingerprint].attempt
        content = store.read(f"artifacts/{step.key}/{attempt}/{LOSS_CURVE}")
        if content is not None:
            losses[cell.fraction, cell.seed] = parse_jsonl(step.key, content)
    return losses
