"""The saved states of trainings: which are read back, which are ignored, and when one is due."""

from __future__ import annotations

import pytest
from resumable import Broken

from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.training import checkpointing as training_state
from weirdgen.training.checkpointing import TrainingCheckpoints


def steps(count: int = 2) -> list[Step]:
    return [
        Step("train", f"s{i}", {"stage": "train", "inputs": {}, "seed": i}) for i in range(count)
    ]


def states(
    store: ArtifactStore, of: list[Step], micro_batch: int = 4, digest: str = "d"
) -> TrainingCheckpoints:
    return TrainingCheckpoints(store, of, [{"input": digest}] * len(of), micro_batch)


def kept(store: ArtifactStore, step: Step) -> set[str]:
    return {name.split("-")[1] for name in store.files(f"artifacts/{step.key}")}


def test_the_latest_state_is_read_back_and_older_ones_are_gone(store: ArtifactStore):
    of = steps()
    saving = states(store, of)
    saving.save(3, [{"a": b"old"}, {"a": b"old"}])
    saving.save(5, [{"a": b"one", "b": b"1"}, {"a": b"two", "b": b"2"}])
    assert states(store, of).latest() == (5, [{"a": b"one", "b": b"1"}, {"a": b"two", "b": b"2"}])
    assert states(store, of[1:]).latest() == (5, [{"a": b"two", "b": b"2"}])
    assert [kept(store, step) for step in of] == [{"5"}, {"5"}]
    assert store.folders(f"artifacts/{of[0].key}") == set(), "no attempts"
    saving.delete()
    assert [kept(store, step) for step in of] == [set(), set()]
    assert states(store, of).latest() is None


def test_an_upload_that_was_cut_off_is_not_read(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    """Of two files, the first training's state is there, the second's is not."""
    of = steps()
    saving = states(store, of)
    saving.save(3, [{"a": b"1"}, {"a": b"2"}])
    written, write = [], store.write

    def cut_off(path: str, content: bytes) -> None:
        if len(written) == 1:
            raise Broken
        written.append(path)
        write(path, content)

    monkeypatch.setattr(store, "write", cut_off)
    with pytest.raises(Broken):
        saving.save(5, [{"a": b"3"}, {"a": b"4"}])
    monkeypatch.undo()
    assert [kept(store, step) for step in of] == [{"3", "5"}, {"3"}]
    assert states(store, of).latest() == (3, [{"a": b"1"}, {"a": b"2"}])
    states(store, of).save(7, [{}, {}])
    assert [kept(store, step) for step in of] == [{"7"}, {"7"}]


def test_trainings_without_a_common_update_start_anew(store: ArtifactStore, capsys):
    first, second = steps()
    states(store, [first]).save(3, [{"a": b"1"}])
    states(store, [second]).save(4, [{"a": b"2"}])
    assert states(store, [first, second]).latest() is None
    assert "from scratch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"micro_batch": 2}, "micro_batch"),
        ({"digest": "another"}, "inputs"),
        ({"versions": {"torch": "1"}}, "versions"),
        ({"seed": 7}, "fingerprint"),
    ],
)
def test_a_state_of_another_making_is_ignored(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, capsys, other: dict, named: str
):
    of = steps(1)
    states(store, of).save(3, [{"a": b"1"}])
    if "versions" in other:
        monkeypatch.setattr(training_state, "versions", lambda: other["versions"])
    if "seed" in other:  # a record whose fingerprint begins alike would share the folder
        monkeypatch.setattr(Step, "key", of[0].key)
        of = [Step("train", "s0", of[0].record | {"seed": 7})]
    changed = {key: value for key, value in other.items() if key in ("micro_batch", "digest")}
    assert states(store, of, **changed).latest() is None
    assert f"is ignored: it belongs to another {named}\n" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [slice(0), slice(-1), slice(1, None)])
def test_a_damaged_state_is_ignored(store: ArtifactStore, capsys, cut: slice):
    (step,) = of = steps(1)
    states(store, of).save(3, [{"a": b"1"}])
    (name,) = store.files(f"artifacts/{step.key}")
    path = f"artifacts/{step.key}/{name}"
    store.write(path, (store.read(path) or b"")[cut])
    assert states(store, of).latest() is None
    assert f"{name} is ignored: it is damaged" in capsys.readouterr().out


def test_of_two_states_after_one_update_the_fitting_one_is_read(store: ArtifactStore):
    (step,) = of = steps(1)
    states(store, of).save(3, [{"a": b"1"}])
    (name,) = store.files(f"artifacts/{step.key}")
    fitting = store.read(f"artifacts/{step.key}/{name}") or b""
    states(store, of, micro_batch=2).save(3, [{"a": b"2"}])
    store.write(f"artifacts/{step.key}/{name}", fitting)
    assert states(store, of).latest() == (3, [{"a": b"1"}])


def test_a_storage_that_cannot_be_written_costs_a_line(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, capsys
):
    of = steps()
    saving = states(store, of)
    saving.save(3, [{"a": b"1"}] * 2)
    write = store.write

    def full(path: str, content: bytes) -> None:
        if path.startswith(f"artifacts/{of[1].key}"):
            raise OSError("no space left")
        write(path, content)

    monkeypatch.setattr(store, "write", full)
    saving.save(5, [{"a": b"2"}, {"a": b"3"}])
    assert "state after update 5 not saved: no space left" in capsys.readouterr().out
    assert kept(store, of[0]) == {"3"}, "what was written of it takes no space"


def test_states_are_due_every_some_minutes_and_later_where_saving_is_slow(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    now, write = [1000.0], store.write

    def slow(path: str, content: bytes) -> None:
        now[0] += 20
        write(path, content)

    monkeypatch.setattr(training_state.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(store, "write", slow)
    saving = states(store, steps(1))
    assert not saving.is_due()
    now[0] += training_state.EVERY_S
    assert saving.is_due()
    saving.save(3, [{"a": b"1"}])
    now[0] += 999.0  # saving took 20 s, which may be 2% of the time
    assert not saving.is_due()
    now[0] += 1.0
    assert saving.is_due()


def test_the_time_of_all_attempts_is_told(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(training_state.time, "monotonic", lambda: now[0])
    for update in (1, 2):
        running = states(store, steps(1))
        running.latest()
        now[0] += 100
        running.save(update, [{"a": b"1"}])
    last = states(store, steps(1))
    last.latest()
    assert last.notes == {"resumed": {"update": 2, "wall_s": 200.0}}
