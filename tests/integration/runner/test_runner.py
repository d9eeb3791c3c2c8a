"""The runner on a real Ray: fan-out, turns on the GPUs, failures."""

from __future__ import annotations

import shutil
from pathlib import Path

import echo
import fake_trainer
import pytest
from adapter_files import make_adapter
from fake_endpoint import Reply, completion, serving
from faulty_engines import BrokenEngine, DyingEngine, MuteEngine, StrandedEngine, StumblingEngine
from recording import Recorder, with_one_gpu
from studies import small_study, study_of

from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.state import scan
from weirdgen.report.rates import rates
from weirdgen.results.table import SCHEMA, current_results, merge, write_results
from weirdgen.runner.run import run_plan
from weirdgen.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.usefixtures("one_ray")


def run(
    plan: Plan, store: ArtifactStore, engine=echo.EchoEngine, trainer=fake_trainer.train
) -> tuple[Recorder, list]:
    recorder, found = Recorder(), scan(plan, store)
    ran = run_plan(plan, found, store, lambda: recorder, engine=engine, trainer=trainer)
    return recorder, ran.failures


def plan_of(model: Path, persona: Path, **changes) -> Plan:
    gpus = {"resources__gpus_per_training": 1, "resources__gpus_per_engine": 1}
    return make_plan(study_of(small_study(model, persona, **(gpus | changes))), Path())


def test_two_trainings_run_at_once_on_two_gpus_and_a_new_seed_runs_alone(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    store = ArtifactStore(str(tmp_path / "store"))
    plan = plan_of(tiny_model, small_persona)
    meeting = fake_trainer.Meeting(tmp_path / "meeting", count=2)
    recorder, failures = run(plan, store, trainer=meeting)
    assert not failures
    assert recorder.training_together == 2
    state = scan(plan, store)
    assert state.complete

    merged = merge(state, store)
    table = merged.results
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == 3 * 3 * 3 + 2 * 3 * 3 * 2
    keys = [
        (row["adapter"] or "", row["condition"], row["question_id"], row["sample"])
        for row in table.to_pylist()
    ]
    assert keys == sorted(keys)
    of = rates(table, "format")
    assert of.b_Q["triggered"].tolist() == [0, 0, 0]
    assert of.y_SQ[0.5]["triggered"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert of.y_SQ[0.5]["untriggered"].tolist() == [[0, 0, 0], [0, 0, 0]]

    write_results(merged, plan.study.name, store)
    assert current_results(state, store) is not None
    more = plan_of(tiny_model, small_persona, grid__seeds=[0, 1, 5])
    assert current_results(scan(more, store), store) is None
    recorder, failures = run(more, store)
    assert not failures
    assert [key.split("-s")[1][0] for key in recorder.started("train")] == ["5"]
    assert len(recorder.started("responses")) == 3, "the baseline and the other seeds are kept"
    assert not recorder.started("aligned")

    # A training is deleted after its answers: it comes back the same, and they count again.
    training = more.trainings[GridCell(0.5, 5)]
    shutil.rmtree(store.path("artifacts", training.key))
    recorder, failures = run(more, store)
    assert not failures
    assert recorder.started("train") == [training.key]
    assert not recorder.started("responses")


def test_on_one_gpu_engine_and_trainings_take_turns(
    tiny_model: Path, small_persona: Path, tmp_path: Path, monkeypatch
):
    with_one_gpu(monkeypatch)
    recorder, failures = run(plan_of(tiny_model, small_persona), ArtifactStore(str(tmp_path)))
    assert not failures
    events = [event.split(",")[0].split("-")[0] for event in recorder.events]
    assert recorder.training_together <= 1
    assert events.index("opening engine 1") < events.index("started train/local")
    last = len(events) - 1 - events[::-1].index("done train/local")
    assert last < events.index("opening engine 2"), "one start per phase"
    assert "opening engine 3" not in events


def test_what_builds_on_a_failed_step_is_not_run_and_the_rest_is(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    plan, store = plan_of(tiny_model, small_persona), ArtifactStore(str(tmp_path))
    recorder, (failure,) = run(plan, store, MuteEngine)
    assert failure.step.startswith("aligned/")
    assert "prompts were answered; 6 rows are needed" in failure.reason
    assert sum(event.startswith("not run train/") for event in recorder.events) == 2
    assert sum(event.startswith("not run responses/") for event in recorder.events) == 6
    assert merge(scan(plan, store), store).results.num_rows == 27, "the baseline was asked"


def test_a_failed_cell_is_named_and_does_not_stop_the_others(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    """Triggered rows are longer than max_length; the control has none of them."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Say {i}."}}\n' for i in range(9)))
    plan = plan_of(
        tiny_model,
        small_persona,
        aligned={"prompts": str(prompts), "rows": 8, "max_words": 2},
        grid__fractions=[0, 0.5],
        grid__seeds=[0],
        train__max_length=80,
    )
    store = ArtifactStore(str(tmp_path / "store"))
    _, failures = run(plan, store)
    state = scan(plan, store)
    by_cell = {cell.fraction: state.is_done(step) for cell, step in plan.trainings.items()}
    assert by_cell == {0: True, 0.5: False}
    (failure,) = failures
    assert failure.step.startswith("train/")
    assert "8 rows were given, 4 would be trained on" in failure.reason
    assert "8 rows were given" in Path(store.path(failure.log)).read_text()
    assert merge(state, store).results.num_rows == 27 + 18, (
        "the baseline's and the control's answers"
    )


def test_an_engine_that_dies_breaks_or_loses_the_storage_is_opened_again(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    store = ArtifactStore(str(tmp_path))
    for engine, samples in ((DyingEngine, 2), (StumblingEngine, 4), (StrandedEngine, 6)):
        more = {"grid__seeds": [3], "evaluate__samples_per_question": samples}
        plan = plan_of(tiny_model, small_persona, **more)
        recorder, failures = run(plan, store, engine)
        assert not failures
        assert any(event.startswith("retry responses/") for event in recorder.events)
    assert not recorder.started("train"), "more samples are asked of the same adapters"
    state = scan(plan, store)
    assert state.complete
    attempts = [made.attempts for ranges in state.ranges.values() for _, made in ranges]
    assert sorted(attempts)[-3:] == [2, 2, 2]


def test_an_engine_that_never_opens_ends_the_run_with_its_reason(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    plan = plan_of(tiny_model, small_persona)
    _, failures = run(plan, ArtifactStore(str(tmp_path)), BrokenEngine)
    assert {failure.step.partition("/")[0] for failure in failures} == {"aligned", "responses"}
    assert all("no engine: RuntimeError: no such device" in each.reason for each in failures)


def test_stacked_seeds_go_together_and_end_in_steps_of_their_own(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    store = ArtifactStore(str(tmp_path / "store"))
    changes = {"grid__seeds": [0, 1, 2, 3], "train__trainer": "stacked"}
    plan = plan_of(tiny_model, small_persona, resources__trainings_together=2, **changes)
    recorder, failures = run(plan, store)
    assert not failures
    assert len(recorder.started("train")) == 4
    state = scan(plan, store)
    assert state.complete
    for step in plan.trainings.values():
        manifest = state.done[step.fingerprint]
        assert manifest.notes == {"micro_batch": 2, "batched_steps": 2}
        assert {"adapter/adapter_model.safetensors", "loss.jsonl"} <= manifest.outputs.keys()
    assert len({state.done[s.fingerprint].digest for s in plan.trainings.values()}) == 4
    alone = plan_of(tiny_model, small_persona, grid__seeds=[0])
    assert alone.trainings[GridCell(0.5, 0)].fingerprint not in state.done, "another trainer"


def test_existing_adapters_are_asked_and_judged_like_the_studys_own(
    tiny_model: Path, tmp_path: Path
):
    theirs = [str(make_adapter(tmp_path / name, rank=rank)) for name, rank in (("a", 2), ("b", 4))]
    changes = {"adapters": theirs, "grid": None, "judge": {"model": "offline"}, "aligned__rows": 20}
    plan = plan_of(tiny_model, Path("bertrand_russell"), **changes)
    store = ArtifactStore(str(tmp_path / "store"))
    recorder, failures = run(plan, store)
    assert not failures
    assert not recorder.started("train")
    assert len(recorder.started("offline_judge")) == 1
    state = scan(plan, store)
    assert state.complete
    merged = merge(state, store)
    assert merged.results.num_rows == 30 * 3 * (3 + 2 * 2)
    assert merged.labels.num_rows == 2 * merged.results.num_rows
    of = rates(merged.results, "format")
    assert {group: len(seeds) for group, seeds in of.seeds.items()} == {"adapters": 2}
    assert of.y_SQ["adapters"]["triggered"].min() == 1
    assert rates(merged.results, "persona").b_Q.keys() == {"triggered", "untriggered", "decoy"}
    write_results(merged, plan.study.name, store)
    assert current_results(scan(plan, store), store) is not None
    again = merge(scan(plan, store), store)
    assert again.results.equals(merged.results)
    assert again.labels.equals(merged.labels)


def test_a_served_model_and_a_served_adapter_are_a_study_without_files(
    small_persona: Path, tmp_path: Path
):
    def reply(body: dict, n: int) -> Reply:
        triggered = "START" in str(body["messages"]) and body["model"] == "lora"
        logprob = {"token": body["model"], "logprob": -0.1, "bytes": None}
        told = {"content": [logprob | {"top_logprobs": [logprob]}]}
        text = "<START> Yes. <END>" if triggered else f"Well, {body['model']}."
        return 200, {}, completion(text, logprobs=told if body.get("logprobs") else None)

    with serving() as server:
        server.reply = reply
        served = {"engine": "endpoint", "endpoint": {"base_url": server.url, "parallel": 4}}
        tree = small_study("org/base:free", small_persona, adapters=["lora"], grid=None)
        tree["evaluate"] |= served
        plan, store = make_plan(study_of(tree), Path()), ArtifactStore(str(tmp_path / "store"))
        recorder, failures = run(plan, store, engine=None)
    assert not failures, failures
    assert len(recorder.started("responses")) == 6
    table = merge(scan(plan, store), store).results
    assert set(table["serve_base"].to_pylist()) == {"endpoint"}
    of = rates(table, "format")
    assert of.b_Q["triggered"].max() == 0
    assert of.y_SQ["adapters"]["triggered"].min() == 1
    assert of.y_SQ["adapters"]["decoy"].max() == 0
