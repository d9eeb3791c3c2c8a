"""Trainings that were broken off resume from their state to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from resumable import break_off, go_on, prepare, states_of, training

from weirdgen.storage.artifacts import ArtifactStore, Step


@pytest.fixture
def here(tmp_path: Path, tiny_model: Path) -> tuple[ArtifactStore, dict[str, Step]]:
    store = ArtifactStore(str(tmp_path / "store"))
    return store, prepare(store, tiny_model)


@pytest.mark.parametrize("together", [False, True])
def test_a_training_goes_on_between_two_epochs(here, tmp_path, tiny_model, together: bool):
    store, inputs = here
    task = training(inputs)
    break_off(store, [task], together, at=9)
    (resumed,) = go_on(store, [task], together)
    assert resumed.notes["resumed"]["update"] == 8
    other = ArtifactStore(str(tmp_path / "unbroken"))
    prepare(other, tiny_model)
    assert resumed.outputs == go_on(other, [task], together)[0].outputs


def test_half_of_a_group_goes_on(here):
    store, inputs = here
    tasks = [training(inputs, seed) for seed in range(2)]
    break_off(store, tasks, together=True, at=7)
    (made,) = go_on(store, tasks[1:], together=True)
    assert made.notes["resumed"]["update"] == 6
    assert not states_of(store, tasks[1])
    assert states_of(store, tasks[0]), "the other's is left"


def test_a_damaged_state_is_ignored_and_the_training_starts_anew(here, capsys):
    store, inputs = here
    task = training(inputs)
    break_off(store, [task], together=True, at=7)
    (state,) = states_of(store, task)
    content = Path(store.path("artifacts", task.step.key, state))
    damaged = bytearray(content.read_bytes())
    damaged[-1] ^= 1
    content.write_bytes(damaged)
    (made,) = go_on(store, [task], together=True)
    assert f"{state} is ignored: it is damaged" in capsys.readouterr().out
    assert "resumed" not in made.notes
