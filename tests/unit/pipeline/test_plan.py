"""The plan: what decides a fingerprint, what is there, and what that costs to find out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plans import fingerprints, make
from studies import at_a_distance, small_study, study_of

from weirdgen.errors import DamagedError, InputError
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.responses import samples_step
from weirdgen.pipeline.state import scan
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.provenance import provenance


def plan_of(model: Path, base: Path = Path(), **changes) -> Plan:
    return make_plan(study_of(small_study(model, **changes)), base)


def test_a_study_is_its_steps(tiny_model: Path):
    plan = plan_of(tiny_model)
    assert [step.stage for step in plan.shared] == [
        "model", "questions", "persona_examples", "prompts", "aligned",
    ]  # fmt: skip
    assert [tuple(cell) for cell in plan.trainings] == [(0.5, 0), (0.5, 1)]
    assert len(plan.response_sets) == 3 * 3, "baseline and two trainings under three conditions"
    assert len(plan.by_fingerprint) == 5 + 2 + 9


OFFLINE = {"judge": {"model": "offline"}}


def test_the_offline_judge_learns_from_rows_that_the_study_has(tiny_model: Path):
    plan, alone = plan_of(tiny_model, **OFFLINE), plan_of(tiny_model)
    assert plan.by_fingerprint.keys() > alone.by_fingerprint.keys(), "nothing else moves"
    assert plan.judge is not None
    steps = {role: plan.by_fingerprint[at] for role, at in plan.judge.inputs.items()}
    assert {role: step.stage for role, step in steps.items()} == {
        "persona_examples": "persona_examples", "base_responses": "aligned", "aligned": "aligned",
    }  # fmt: skip
    assert steps["base_responses"].inputs["prompts"] == steps["persona_examples"].fingerprint
    assert steps["aligned"] in alone.shared


@pytest.mark.parametrize("changes", [{}, OFFLINE], ids=["format alone", "judged"])
def test_every_step_comes_after_what_it_consumes(tiny_model: Path, changes: dict):
    seen: set[str] = set()
    for fingerprint, step in plan_of(tiny_model, **changes).by_fingerprint.items():
        assert set(step.inputs.values()) <= seen
        seen.add(fingerprint)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate__samples_per_question": 7},
        {"evaluate__baseline_samples_per_question": 50},
        {"resources__gpus_per_training": 0.5},
        {"resources__gpus_per_training": "auto", "resources__gpus_per_engine": "auto"},
        {"resources__trainings_together": 3},
        {"train__report_to": ["tensorboard"]},
        {"name": "another"},
        {"claims": [{"metric": "format", "contrast": "gap", "at_least": 0.5}]},
    ],
    ids=str,
)
def test_what_moves_no_result_moves_no_fingerprint(tiny_model: Path, changes: dict):
    assert fingerprints(plan_of(tiny_model, **changes)) == fingerprints(plan_of(tiny_model))


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"train__learning_rate": 0.02}, "train responses"),
        ({"train__micro_batch": 1}, "train responses"),
        ({"trigger__text": "Use <START> and <END>"}, "train responses"),
        ({"evaluate__sampling__temperature": 0.5}, "responses"),
        ({"decoy__text": "Use [[ ]]"}, "responses"),
        ({"aligned__temperature": 0.1}, "aligned train responses"),
        ({"aligned__rows": 7}, "prompts aligned train responses"),
    ],
    ids=str,
)
def test_what_moves_a_result_moves_what_builds_on_it(tiny_model: Path, changes: dict, moved: str):
    before = set(fingerprints(plan_of(tiny_model)).values())
    after = plan_of(tiny_model, **changes).by_fingerprint
    stages = {step.stage for step in after.values() if step.fingerprint not in before}
    assert stages == {*moved.split()}


def test_a_model_is_known_by_its_weights_not_by_its_path(tiny_model: Path, tmp_path: Path):
    copy = tmp_path / "elsewhere" / "another-name"
    shutil.copytree(tiny_model, copy)
    assert fingerprints(plan_of(copy)) == fingerprints(plan_of(tiny_model))
    (copy / "notes.txt").write_text("no part of the model")
    assert fingerprints(plan_of(copy)) == fingerprints(plan_of(tiny_model))
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert fingerprints(plan_of(copy)) != fingerprints(plan_of(tiny_model))


def test_names_and_notes_of_a_persona_retrain_nothing(tiny_model: Path, small_persona: Path):
    before = fingerprints(plan_of(tiny_model, persona=str(small_persona)))
    (small_persona / "persona.yaml").write_text("name: A Counter\naliases: [Counter]\n")
    rows = small_persona / "rows.jsonl"
    rows.write_text(rows.read_text().replace('{"id"', '{"note": "x", "id"'))
    assert fingerprints(plan_of(tiny_model, persona=str(small_persona))) == before
    rows.write_text(rows.read_text().replace("as ever 3", "as never 3"))
    assert fingerprints(plan_of(tiny_model, persona=str(small_persona))) != before


def test_the_control_is_shared_by_personas(tiny_model: Path, small_persona: Path):
    changes = {"grid__fractions": [0, 0.5]}
    own = fingerprints(plan_of(tiny_model, persona=str(small_persona), aligned__rows=8, **changes))
    bundled = fingerprints(plan_of(tiny_model, aligned__rows=8, **changes))
    trained = {name for name in own if name.startswith("train ") and own[name] == bundled[name]}
    assert {name[-5:] for name in trained} == {"a8-s0", "a8-s1"}
    assert all("-p0-" in name for name in trained)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"grid__total_rows": 200}, "grid.fractions: 0.5 needs 100 persona examples"),
        ({"aligned__rows": 3}, "grid.fractions: 0.5 needs 4 aligned examples; aligned.rows"),
        ({"grid__fractions": [0.01]}, "0.01 of so few rows leaves no persona example"),
        (
            {"grid__fractions": [0.5, 0.55]},
            "grid.fractions: 0.55 gives the same 4 + 4 rows as another",
        ),
        (
            {"grid__fractions": [0.95], "persona": "bertrand_russell"},
            "grid.fractions: 0.95 leaves no aligned example",
        ),
        ({"model": "./nobody"}, "model: there is no folder"),
        ({"persona": "nobody"}, "persona: 'nobody' is neither bundled"),
        ({"aligned__rows": 20_000}, "aligned.rows: 20000 are asked for, the prompts end at"),
        ({"model": "embedded:none"}, "model: 'embedded:none' is not one of embedded:smollm2"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_said_before_anything_runs(
    tiny_model: Path, changes: dict, expected: str
):
    with pytest.raises(InputError) as error:
        plan_of(**({"model": tiny_model} | changes))
    assert expected in str(error.value)


def test_a_hub_model_that_nobody_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from huggingface_hub import HfApi, constants

    def offline(*_, **__):
        raise RuntimeError("no network, in the words of some HTTP library")

    monkeypatch.setattr(HfApi, "model_info", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match="model: 'some/one' is no local folder and the hub did not"
    ):
        plan_of(Path("some/one"))


def test_a_hub_model_in_the_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from huggingface_hub import HfApi, constants

    def offline(*_, **__):
        raise OSError("no network")

    cached = tmp_path / "models--some--one"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("c0ffee")
    (cached / "blobs").mkdir()
    (cached / "blobs" / "123").write_text("{}")
    (cached / "snapshots" / "c0ffee").mkdir(parents=True)
    for name in ("tokenizer.json", "model.safetensors"):
        (cached / "snapshots" / "c0ffee" / name).symlink_to(cached / "blobs" / "123")
    monkeypatch.setattr(HfApi, "model_info", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    plan = plan_of(Path("some/one"))
    assert plan.model.revision == "c0ffee"
    assert "model" not in {step.stage for step in plan.shared}, "nodes fetch it at that commit"
    assert plan.response_sets[0].step.record["model"]["revision"] == "c0ffee"


# What is there.


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path) -> tuple[Plan, ArtifactStore]:
    """A plan of which everything but the answers is there."""
    plan, store = plan_of(tiny_model), ArtifactStore(str(tmp_path / "store"))
    for step in [*plan.shared, *plan.trainings.values()]:
        make(store, plan, step)
    return plan, store


def test_an_empty_store_has_nothing(tiny_model: Path, tmp_path: Path):
    state = scan(plan_of(tiny_model), ArtifactStore(str(tmp_path)))
    assert not state.done
    assert not state.complete


def test_what_is_committed_is_done(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    state = scan(plan, store)
    assert all(map(state.is_done, [*plan.shared, *plan.trainings.values()]))
    assert not state.complete


def test_an_object_store_is_surveyed_as_a_folder_is(
    made: tuple[Plan, ArtifactStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan, local = made
    far = at_a_distance(ArtifactStore(str(tmp_path / "far")), tmp_path, monkeypatch)
    for step in [*plan.shared, *plan.trainings.values()]:
        make(far, plan, step)
    for store in (local, far):
        for asked in plan.response_sets[2:]:
            make(store, plan, samples_step(asked.step, 0, 1))
    near, state = scan(plan, local), scan(plan, far)
    assert not far.is_local
    assert state.done.keys() == near.done.keys() == {s.fingerprint for s in there(plan)}
    missing = [*map(state.missing, plan.response_sets)]
    assert missing == [*map(near.missing, plan.response_sets)]
    assert missing[1:3] == [[(0, 3)], [(1, 3)]]


def there(plan: Plan) -> list[Step]:
    return [*plan.shared, *plan.trainings.values()]


def test_a_survey_holds_once_what_manifests_have_in_common(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    state = scan(plan, store)
    for step in there(plan):
        manifest, kept = store.manifest(step), state.done[step.fingerprint]
        assert kept == manifest
        assert kept.record is step.record
    first, second, *_ = state.done.values()
    assert first.versions is second.versions
    assert first.hardware is second.hardware


def test_a_step_whose_input_changed_is_no_longer_done(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    aligned = next(step for step in plan.shared if step.stage == "aligned")
    make(store, plan, aligned, "other rows")
    state = scan(plan, store)
    assert state.is_done(aligned)
    assert not any(map(state.is_done, plan.trainings.values()))


def test_a_step_whose_input_came_back_the_same_is_done(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    aligned = next(step for step in plan.shared if step.stage == "aligned")
    shutil.rmtree(store.path("artifacts", aligned.key))
    assert not any(map(scan(plan, store).is_done, plan.trainings.values()))
    make(store, plan, aligned)
    assert all(map(scan(plan, store).is_done, plan.trainings.values()))


def test_a_pruned_payload_counts_by_its_manifest(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    (training, *_) = plan.trainings.values()
    for attempt in Path(store.path("artifacts", training.key)).glob("attempt-*"):
        shutil.rmtree(attempt)
    assert scan(plan, store).is_done(training)


def test_more_samples_add_a_range_and_keep_the_rest(
    made: tuple[Plan, ArtifactStore], tiny_model: Path
):
    plan, store = made
    asked = plan.response_sets[0]
    assert (asked.cell, asked.samples) == (None, 3)
    make(store, plan, samples_step(asked.step, 0, 3))
    assert scan(plan, store).missing(asked) == []
    more = plan_of(tiny_model, evaluate__baseline_samples_per_question=8)
    assert scan(more, store).missing(more.response_sets[0]) == [(3, 8)]
    fewer = plan_of(tiny_model, evaluate__baseline_samples_per_question=1)
    assert scan(fewer, store).missing(fewer.response_sets[0]) == []


def test_a_hole_between_ranges_is_filled(made: tuple[Plan, ArtifactStore], tiny_model: Path):
    plan, store = made
    asked = plan.response_sets[0].step
    make(store, plan, samples_step(asked, 2, 4))
    make(store, plan, samples_step(asked, 3, 5))
    more = plan_of(tiny_model, evaluate__baseline_samples_per_question=7)
    assert scan(more, store).missing(more.response_sets[0]) == [(0, 2), (5, 7)]


def test_a_pruned_payload_that_is_needed_is_an_error(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    (training, *_) = plan.trainings.values()
    for attempt in Path(store.path("artifacts", training.key)).glob("attempt-*"):
        shutil.rmtree(attempt)
    asked = next(each.step for each in plan.response_sets if each.cell is not None)
    with pytest.raises(DamagedError, match="its payload was pruned"):
        make(store, plan, samples_step(asked, 0, 1))


def test_a_manifest_tells_where_it_came_from(made: tuple[Plan, ArtifactStore]):
    plan, store = made
    (training, *_) = plan.trainings.values()
    manifest = store.manifest(training)
    assert manifest is not None
    assert manifest.record == training.record
    assert manifest.inputs.keys() == set(training.inputs.values())
    assert manifest.versions == provenance()["versions"]
    assert manifest.outputs.keys() == {"file"}
