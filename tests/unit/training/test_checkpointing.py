"""Trainings that are broken off: another attempt goes on from their state to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, SUPPORT
from training_specs import ALIGNED, PERSONA

from weirdgen.config.study import Train
from weirdgen.data.persona import to_jsonl
from weirdgen.data.seeds import run_seeds
from weirdgen.pipeline.plan import EXAMPLES
from weirdgen.pipeline.stages.steps import (
    Task,
    run_step,
    run_training,
)
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step, is_attempt
from weirdgen.training import checkpointing as training_state
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trainer import make_trainer

SETTINGS = {"epochs": 3, "learning_rate": 0.01, "compute_dtype": "float32", "batch_size": 2, "micro_batch": 1}  # fmt: skip
"""Twelve updates over an NF4 base, so that weights are bf16."""


def prepare(store: ArtifactStore, model: Path) -> dict[str, Step]:
    """What trainings consume, by role."""

    def pairs(rows: list) -> Callable:
        return lambda _, out: (out / EXAMPLES).write_text(to_jsonl(rows)) and None

    makers = {
        "model": lambda _, out: shutil.copytree(model, out, dirs_exist_ok=True) and None,
        "persona": pairs(PERSONA),
        "aligned": pairs(ALIGNED),
    }
    steps = {role: Step(role, "an-input", {"stage": role, "inputs": {}}) for role in makers}
    for role, make in makers.items():
        run_step(store, Task(steps[role], {}), make)
    return steps


def training(inputs: dict[str, Step], seed: int = 0, **settings) -> Task:
    record = {
        "stage": "train",
        "inputs": {role: step.fingerprint for role, step in inputs.items()},
        "model": {"id": "a/model"},
        "seeds": run_seeds(seed)._asdict(),
        "examples": {"persona": 4, "aligned": 4},
        "settings": Train(**(SETTINGS | settings)).model_dump(exclude={"report_to", "trainer"}),
    }
    return Task(Step("train", f"s{seed}", record), inputs)


class Broken(Exception):
    """What breaks a training off."""


def attempt(
    store: ArtifactStore,
    tasks: list[Task],
    together: bool,
    end: Callable[[], None],
    at: int | None = None,
) -> list[Manifest]:
    """Trains, keeping the state after every update; `end` is called after update `at`, before its state is kept."""
    told = []

    def on_step(done: int, _total: int) -> None:
        told.append(done)
        if done == at:
            end()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_state, "EVERY_S", 0.0)
        patch.setattr(training_state, "_MOST_OF_TIME", float("inf"))
        made = run_training(
            store,
            tasks,
            make_trainer("stacked" if together else "trl"),
            report_to=(),
            micro_batch=1,
            gpu_share=0,
            on_step=on_step,
        )
    went_on_from = made[0].notes.get("resumed", {"update": 0})["update"]
    assert told == list(range(1 + went_on_from, 13))
    return made


def break_off(store: ArtifactStore, tasks: list[Task], together: bool, at: int) -> None:
    def end() -> None:
        raise Broken

    with pytest.raises(Broken):
        attempt(store, tasks, together, end, at)


def go_on(store: ArtifactStore, tasks: list[Task], together: bool) -> list[Manifest]:
    return attempt(store, tasks, together, lambda: None)


def states_of(store: ArtifactStore, task: Task) -> list[str]:
    folders = store.folders(f"artifacts/{task.step.key}")
    return sorted(name for name in folders if not name.startswith("attempt-"))


def state_files(store: ArtifactStore, task: Task) -> list[Path]:
    (state,) = states_of(store, task)
    return sorted(Path(store.path("artifacts", task.step.key, state)).iterdir())


@pytest.fixture
def here(tmp_path: Path, tiny_model: Path) -> tuple[ArtifactStore, dict[str, Step]]:
    store = ArtifactStore(str(tmp_path / "store"))
    return store, prepare(store, tiny_model)


@pytest.mark.parametrize(
    ("together", "settings"), [(False, {"lora_dropout": 0.1}), (True, {"scheduler": "cosine"})]
)
def test_a_killed_training_goes_on_to_the_bytes_of_an_unbroken_one(
    here, tmp_path: Path, tiny_model: Path, together: bool, settings: dict
):
    store, inputs = here
    tasks = [training(inputs, seed, **settings) for seed in range(1 + together)]
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from test_checkpointing import *\n"
        "store, inputs = ArtifactStore(sys.argv[1]), prepare(ArtifactStore(sys.argv[1]), Path(sys.argv[2]))\n"
        f"tasks = [training(inputs, seed, **{settings!r}) for seed in range({len(tasks)})]\n"
        f"attempt(store, tasks, {together}, lambda: os.kill(os.getpid(), signal.SIGKILL), 7)\n"
    )
    command = [sys.executable, "-c", code, store.uri, str(tiny_model)]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{SUPPORT.parent}:{SUPPORT}"}
    killed = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for task in tasks:
        assert store.manifest(task.step) is None
        assert [name.split("-")[1] for name in states_of(store, task)] == ["6"], "the latest alone"
    resumed = go_on(store, tasks, together)

    other = ArtifactStore(str(tmp_path / "unbroken"))
    prepare(other, tiny_model)
    unbroken = go_on(other, tasks, together)
    assert [made.outputs for made in resumed] == [made.outputs for made in unbroken]
    for task, made, whole in zip(tasks, resumed, unbroken, strict=True):
        assert made.notes["resumed"]["update"] == 6
        assert made.wall_s > made.notes["resumed"]["wall_s"] > 0
        assert "resumed" not in whole.notes
        folders = store.folders(f"artifacts/{task.step.key}")
        assert made.attempt in folders
        assert not states_of(store, task), "deleted at the commit"


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
    _proof, content = state_files(store, task)
    damaged = bytearray(content.read_bytes())
    damaged[-1] ^= 1
    content.write_bytes(damaged)
    (made,) = go_on(store, [task], together=True)
    assert "state.safetensors is damaged" in capsys.readouterr().out
    assert "resumed" not in made.notes


# States alone, in a local and a remote store.


def steps(count: int = 2) -> list[Step]:
    return [
        Step("train", f"s{i}", {"stage": "train", "inputs": {}, "seed": i}) for i in range(count)
    ]


def states(
    store: ArtifactStore, of: list[Step], micro_batch: int = 4, digest: str = "d"
) -> TrainingCheckpoints:
    return TrainingCheckpoints(store, of, [{"input": digest}] * len(of), micro_batch)


def kept(store: ArtifactStore, step: Step) -> set[str]:
    return {name.split("-")[1] for name in store.folders(f"artifacts/{step.key}")}


def test_the_latest_state_is_read_back_and_older_ones_are_gone(store: ArtifactStore):
    of = steps()
    saving = states(store, of)
    saving.save(3, [{"a": b"old"}, {"a": b"old"}])
    saving.save(5, [{"a": b"one", "b": b"1"}, {"a": b"two", "b": b"2"}])
    assert states(store, of).latest() == (5, [{"a": b"one", "b": b"1"}, {"a": b"two", "b": b"2"}])
    assert states(store, of[1:]).latest() == (5, [{"a": b"two", "b": b"2"}])
    assert [kept(store, step) for step in of] == [{"5"}, {"5"}]
    assert not any(is_attempt(name) for name in store.folders(f"artifacts/{of[0].key}"))
    saving.delete()
    assert [kept(store, step) for step in of] == [set(), set()]
    assert states(store, of).latest() is None


def test_an_upload_that_was_cut_off_is_not_read(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    """Of four files, the first training's state is whole, the second's lacks its proof."""
    of = steps()
    saving = states(store, of)
    saving.save(3, [{"a": b"1"}, {"a": b"2"}])
    written, write = [], store.write

    def cut_off(path: str, content: bytes) -> None:
        if len(written) == 3:
            raise Broken
        written.append(path)
        write(path, content)

    monkeypatch.setattr(store, "write", cut_off)
    with pytest.raises(Broken):
        saving.save(5, [{"a": b"3"}, {"a": b"4"}])
    monkeypatch.undo()
    assert [kept(store, step) for step in of] == [{"3", "5"}, {"3", "5"}]
    assert states(store, of).latest() == (3, [{"a": b"1"}, {"a": b"2"}])
    states(store, of).save(7, [{}, {}])
    assert [kept(store, step) for step in of] == [{"7"}, {"7"}]


def test_trainings_without_a_common_update_start_anew(store: ArtifactStore, capsys):
    first, second = steps()
    states(store, [first]).save(3, [{"a": b"1"}])
    states(store, [second]).save(4, [{"a": b"2"}])
    assert states(store, [first, second]).latest() is None
    assert "from the start" in capsys.readouterr().out


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
    assert f"is ignored: it is of another {named}\n" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"{}", b'{"of": {}, "files": {}, "wall_s": 1}', b"[1]"])
def test_an_unreadable_proof_is_ignored(store: ArtifactStore, capsys, content: bytes):
    (step,) = of = steps(1)
    store.write(f"artifacts/{step.key}/state-3-ab/state.json", content)
    assert states(store, of).latest() is None
    assert "state-3-ab is ignored: state.json is not readable" in capsys.readouterr().out


def test_a_storage_that_cannot_be_written_costs_a_line(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, capsys
):
    of = steps(1)
    saving = states(store, of)
    saving.save(3, [{"a": b"1"}])
    write = store.write

    def full(path: str, content: bytes) -> None:
        if path.endswith("/state.json"):
            raise OSError("no space left")
        write(path, content)

    monkeypatch.setattr(store, "write", full)
    saving.save(5, [{"a": b"2"}])
    assert "state after update 5 not saved: no space left" in capsys.readouterr().out
    assert kept(store, of[0]) == {"3"}, "what was written of it takes no space"


def test_states_are_due_every_some_minutes_and_later_where_saving_is_slow(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    now, write = [1000.0], store.write

    def slow(path: str, content: bytes) -> None:
        now[0] += 10
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
    (name,) = store.folders(f"artifacts/{steps(1)[0].key}")
    proof = store.read(f"artifacts/{steps(1)[0].key}/{name}/state.json")
    assert json.loads(proof or b"")["files"].keys() == {"a"}
