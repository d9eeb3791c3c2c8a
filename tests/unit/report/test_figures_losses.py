"""Loss curves as they are read from what training runs left."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.state import StudyState, look_up
from weirdgen.report.data import read_losses
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step
from weirdgen.storage.provenance import provenance

ROWS = [{"step": n, "epoch": n / 2, "loss": 3.0 - n, "learning_rate": 1e-3} for n in (1, 2)]


def training(seed: int) -> Step:
    return Step("train", f"s{seed}", {"stage": "train", "version": 1, "inputs": {}, "seed": seed})


def commit(store: ArtifactStore, step: Step) -> Manifest:
    with store.attempt(step) as attempt:
        (attempt[1] / "adapter").mkdir()
        (attempt[1] / "adapter" / "weights").write_bytes(b"0" * 1000)
        lines = (json.dumps(row | {"loss": row["loss"] + step.record["seed"]}) for row in ROWS)
        (attempt[1] / "loss.jsonl").write_text("".join(f"{line}\n" for line in lines))
        made: dict[str, Any] = {**provenance(), "wall_s": 0.0, "attempts": 1}
        return store.commit(step, attempt, inputs={}, provenance=made)


def test_committed_curves_are_read_and_nothing_else(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {GridCell(0.1, seed): training(seed) for seed in range(3)}
    plan: Any = SimpleNamespace(trainings=cells)
    state = StudyState(plan)
    for seed in (0, 1):
        manifest = commit(store, cells[GridCell(0.1, seed)])
        if seed == 1:  # pruned
            store.delete_folder(f"artifacts/{cells[GridCell(0.1, 1)].key}/{manifest.attempt}")
    for step in cells.values():
        look_up(state, store, step)
    assert len(state.done) == 2
    monkeypatch.setattr(ArtifactStore, "payload", lambda *_: pytest.fail("fetches a whole payload"))
    assert read_losses(state, store) == {(0.1, 0): ROWS}
