"""How long a study takes on GPUs: rates, its own steps, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from architectures import SMOL
from hypothesis import given
from hypothesis import strategies as st
from placements import LLAMA_8B, STACKED, placed, plan_of
from plans import make

from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.resources.placement import place
from weirdgen.pipeline.resources.time_estimate import TimeEstimate, hours, training_rate
from weirdgen.pipeline.stages.responses import samples_step
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.report.plan import gpu_lines
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step

PERSONA, ALIGNED = 100.0, 200.0
"""Mean tokens of a row."""


def timed_plan(model: Path, **changes) -> Plan:
    """Two seeds of 4 + 4 rows, 30 questions under three conditions, 3 epochs."""
    few = {"grid__seeds": [0, 1], "train__epochs": 3}
    plan = plan_of(model, **(few | changes))
    assert plan.lengths is not None
    lengths = plan.lengths._replace(persona=PERSONA, aligned=ALIGNED)
    return replace(plan, lengths=lengths)


ROW_EPOCHS = 3 * 8
TOKENS = 3 * (4 * PERSONA + 4 * ALIGNED)
"""Of one training."""
TO_GENERATE = 30 * 3 * (3 + 2 * 2) * 8 + 6 * 8 * 1.35
"""Answers of 8 tokens each: baseline and two adapters; and 6 ordinary rows of 8 words."""


def estimate(plan: Plan, gigabytes: float = 80) -> TimeEstimate:
    took = hours(StudyState(plan), placed(plan, gigabytes))
    assert took is not None
    return took


# Rates.


def test_a_rate_that_was_measured_is_that_rate():
    assert training_rate("trl", 1, SMOL.parameters) == pytest.approx(8_486)
    assert training_rate("stacked", 8, SMOL.parameters) == pytest.approx(179_562)
    between = math.sqrt(31_105 * 179_562)
    assert training_rate("stacked", math.sqrt(8), SMOL.parameters) == pytest.approx(between)
    assert training_rate("stacked", 12, SMOL.parameters) == pytest.approx(179_562)


def test_beyond_what_was_measured_a_rate_falls_with_the_parameters():
    for trainer in ("trl", "stacked"):
        largest = training_rate(trainer, 1, 8_030_261_248)
        assert training_rate(trainer, 1, 80_302_612_480) == pytest.approx(largest / 10)
    assert training_rate("trl", 1, 1e6) == pytest.approx(8_486), "bound by launches, not by size"


@given(st.floats(1e8, 1e11), st.integers(1, 15))
def test_a_larger_model_is_not_faster_and_more_together_not_slower(parameters: float, n: int):
    rate = training_rate("stacked", n, parameters)
    assert training_rate("stacked", n, 1.5 * parameters) <= rate * (1 + 1e-9)
    assert training_rate("stacked", n + 1, parameters) >= rate * (1 - 1e-9)


# A study.


def test_a_study_by_measured_rates(tiny_model: Path):
    took = estimate(timed_plan(tiny_model))
    one = 30 + TOKENS / 8_486
    assert took.longest_s == pytest.approx(one)
    assert took.training_s == pytest.approx(one), "two trainings side by side on one GPU"
    assert took.starts_s == 120
    assert took.generation_s == pytest.approx(TO_GENERATE / 30_512)
    assert not took.own


def test_stacked_trainings_are_one_process(tiny_model: Path):
    took = estimate(timed_plan(tiny_model, **STACKED))
    assert took.training_s == took.longest_s
    assert took.training_s == pytest.approx(
        25 + 2 * TOKENS / training_rate("stacked", 2, SMOL.parameters)
    )


def test_in_turns_the_engine_starts_twice_if_it_makes_rows_first(tiny_model: Path):
    assert estimate(timed_plan(tiny_model), 12).starts_s == 240
    assert estimate(timed_plan(tiny_model)).starts_s == 120


def test_checkpointing_takes_half_as_long_again(tiny_model: Path):
    plain = estimate(timed_plan(tiny_model))
    slower = estimate(timed_plan(tiny_model, train__gradient_checkpointing=True))
    assert slower.longest_s - 30 == pytest.approx(1.5 * (plain.longest_s - 30))


def test_processes_on_one_gpu_share_its_arithmetic(tiny_model: Path):
    """Two trainings of an 8B model side by side are no faster than one after the other."""
    changes = {
        "train__micro_batch": 1,
        "resources__gpus_per_training": 0.5,
        "resources__gpus_per_engine": 1,
    }
    plan = timed_plan(tiny_model, **changes)
    large = replace(plan, model=replace(plan.model, shape=LLAMA_8B))
    took = estimate(large)
    alone = TOKENS / training_rate("trl", 1, LLAMA_8B.parameters)
    assert took.longest_s == pytest.approx(30 + 2 * alone, rel=0.01)
    assert took.training_s == pytest.approx(took.longest_s)


def test_more_gpus_make_it_shorter_down_to_the_longest_process():
    took = TimeEstimate(
        training_s=400, longest_s=150, starts_s=80, generation_s=40, own=frozenset()
    )
    assert took.gpu_s == 520
    assert [took.wall_s(n) for n in (1, 2, 4)] == [520, 200 + 80 + 20, 150 + 80 + 10]


def timed(store: ArtifactStore, plan: Plan, step: Step, wall_s: float, **more) -> Manifest:
    """The step made, and a manifest that says it took so long on a GPU."""
    make(store, plan, step)
    manifest = store.manifest(step)
    assert manifest is not None
    changes = {"wall_s": wall_s, "hardware": {"gpu": "some GPU"}, **more}
    return manifest.model_copy(update=changes)


def test_a_study_that_has_begun_tells_by_its_own_steps(tiny_model: Path, tmp_path: Path):
    plan, store = (
        timed_plan(tiny_model, grid__seeds=[0, 1, 2], **STACKED),
        ArtifactStore(str(tmp_path)),
    )
    for step in plan.shared:
        make(store, plan, step)
    state = scan(plan, store)
    steps = list(plan.trainings.values())
    for step in steps[:2]:
        state.done[step.fingerprint] = timed(store, plan, step, 240.0, notes={"batched_steps": 2})
    baseline = plan.response_sets[0]
    ranged = samples_step(baseline.step, 0, 3)
    state.ranges[baseline.step.fingerprint] = [(ranged, timed(store, plan, ranged, 9.0))]
    placement = place(state, Gpus(1, 80e9, "a GPU"), "study.yaml")
    took = hours(state, placement)
    assert took is not None
    assert took.training_s == pytest.approx(240 / 2), "one is left"
    assert took.starts_s == 120
    left = 2 * 3 + 3 * 3 * 2
    assert took.generation_s == pytest.approx(9.0 / 3 * left), (
        "as long per sample as the first three"
    )
    assert took.own == {"training", "generation"}
    (line,) = [line for line in gpu_lines(state, placement) if "GPU-hours" in line]
    assert line == (
        "about 0.09 GPU-hours to do: training 0.03 (as its finished steps took), "
        "generation 0.05 (as its finished steps took); 0.09 hours on one GPU"
    )


def test_what_was_trained_on_a_cpu_tells_nothing(tiny_model: Path, tmp_path: Path):
    plan, store = timed_plan(tiny_model, grid__seeds=[0, 1]), ArtifactStore(str(tmp_path))
    for step in [*plan.shared, *list(plan.trainings.values())[:1]]:
        make(store, plan, step)
    state = scan(plan, store)
    took = hours(state, place(state, Gpus(1, 80e9, "a GPU"), "study.yaml"))
    assert took is not None
    assert not took.own
    assert took.longest_s == pytest.approx(30 + TOKENS / 8_486)


def test_hours_of_an_unknown_model_are_not_known(tiny_model: Path):
    plan = timed_plan(tiny_model)
    state = StudyState(replace(plan, model=replace(plan.model, shape=None)))
    placement = place(state, Gpus(1, 80e9, "a GPU"), "study.yaml")
    assert hours(state, placement) is None
    assert list(gpu_lines(state, placement)) == [
        "GPU memory: the model's is not known; nothing is checked",
        "GPU-hours: not known for this model",
    ]


def test_the_lines_of_a_plan(tiny_model: Path):
    plan = timed_plan(tiny_model, grid__seeds="0..7", **STACKED)
    placement = placed(plan)
    memory, training, engine, took = gpu_lines(StudyState(plan), placement)
    assert memory == "GPU memory: the smallest GPU of 80.0 GB"
    assert training.startswith("a training process, 8 trainings together: 28.9 GB (context 0.6, ")
    assert training.endswith("; 0.45 of a GPU, 1 on one beside the engine")
    assert engine == (
        "an engine: 7.3 GB (context, graphs 4.0, weights 0.3, adapters 0.0, cache 3.0); 0.55 of a GPU"
    )
    assert took.startswith("about 0.04 GPU-hours to do: training 0.01 (at an H100's rates), ")
    unknown = placed(plan, None)
    assert next(gpu_lines(StudyState(plan), unknown)) == (
        "GPU memory: the GPU's is not known; nothing is checked"
    )
