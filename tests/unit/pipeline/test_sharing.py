"""How trainings and engine share GPUs: shares, refusals, and what nvidia-smi tells."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from architectures import SMOL
from command_line import weirdgen
from hypothesis import given
from hypothesis import strategies as st
from placements import LLAMA_8B, STACKED, placed, plan_of
from plans import fingerprints, make
from studies import small_study, study_of, write_study

from weirdgen.data.examples import Example
from weirdgen.data.lengths import row_lengths
from weirdgen.errors import InputError
from weirdgen.models.architecture import ModelArchitecture
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.resources.gpus import Gpus, planned_gpus, smallest_gpu, smallest_told
from weirdgen.pipeline.resources.placement import Placement, place
from weirdgen.pipeline.state import scan
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture(scope="module")
def plan(tiny_model: Path) -> Plan:
    return plan_of(tiny_model)


def shares(placement: Placement) -> tuple[float, float, int]:
    resources = placement.resources
    return (
        resources.gpus_per_training,
        resources.gpus_per_engine,
        resources.trainings_together,
    )


@pytest.mark.parametrize(
    ("changes", "gigabytes", "expected"),
    [
        # A training needs 7.7 GB, an engine 7.3 GB; 5 stacked ones 31.7 GB, 8 of them 49.1 GB.
        ({}, 80, (0.15, 0.55, 8)),
        ({}, 24, (0.35, 0.55, 8)),
        ({}, 12, (0.7, 1.0, 8)),
        ({"evaluate__engine": "transformers"}, 80, (0.15, 0.55, 8)),
        (STACKED, 80, (0.45, 0.55, 5)),
        (STACKED, 140, (0.45, 0.55, 8)),
        (STACKED, 24, (0.9, 1.0, 3)),
        (STACKED | {"resources__trainings_together": 2}, 80, (0.45, 0.55, 2)),
        (STACKED | {"grid__seeds": [3]}, 80, (0.45, 0.55, 1)),
        (STACKED | {"resources__gpus_per_training": 1}, 80, (1.0, 1.0, 8)),
        (STACKED | {"resources__gpus_per_training": 0.3}, 80, (0.3, 0.55, 3)),
        (STACKED | {"resources__gpus_per_engine": 0.3}, 80, (0.7, 0.3, 8)),
        (STACKED | {"resources__gpus_per_engine": 0}, 80, (1.0, 0, 8)),
        ({"resources__gpus_per_training": 0}, 80, (0, 1.0, 8)),
        ({"resources__gpus_per_engine": 1, "resources__gpus_per_training": 1}, 80, (1, 1, 8)),
    ],
    ids=str,
)
def test_auto_becomes_numbers(tiny_model: Path, changes: dict, gigabytes: float, expected: tuple):
    assert shares(placed(plan_of(tiny_model, **changes), gigabytes)) == expected


def test_processes_on_a_gpu_and_turns(tiny_model: Path):
    beside = placed(plan_of(tiny_model))
    assert (beside.takes_turns, beside.processes) == (False, 3)
    turns = placed(plan_of(tiny_model), 12)
    assert (turns.takes_turns, turns.processes) == (True, 1)
    packed = placed(plan_of(tiny_model, resources__gpus_per_engine=1))
    assert (packed.takes_turns, packed.processes) == (True, 6)


def test_an_8b_model_on_an_h100_takes_turns_with_its_engine(tiny_model: Path):
    changes = {"train__micro_batch": 4, "train__gradient_checkpointing": True}
    assert shares(placed(plan_of(tiny_model, LLAMA_8B, **changes)))[:2] == (0.15, 0.55)
    changes = {"train__micro_batch": 16}
    assert shares(placed(plan_of(tiny_model, LLAMA_8B, **changes)))[:2] == (0.85, 1.0)


@given(gigabytes=st.floats(2, 300), trainer=st.sampled_from(["trl", "stacked"]))
def test_what_is_said_to_fit_does(plan: Plan, gigabytes: float, trainer: str):
    train = plan.study.train.model_copy(update={"trainer": trainer})
    plan = replace(plan, study=plan.study.model_copy(update={"train": train}))
    try:
        placement = placed(plan, gigabytes)
    except InputError:
        assert gigabytes < 9
        return
    training, engine = placement.resources.gpus_per_training, placement.resources.gpus_per_engine
    assert placement.training is not None
    assert placement.engine is not None
    assert sum(placement.training.values()) <= 0.95 * training * gigabytes * 1e9
    together = placement.processes * training + (0 if placement.takes_turns else engine)
    assert together <= 1 + 1e-9
    assert 1 <= placement.resources.trainings_together <= 16


# What is not known, and what is done.


@pytest.mark.parametrize(("shape", "gigabytes"), [(SMOL, None), (None, 1)])
def test_where_memory_is_not_known_nothing_is_refused(
    tiny_model: Path, shape: ModelArchitecture | None, gigabytes: float | None
):
    placement = placed(plan_of(tiny_model, shape), gigabytes)
    assert shares(placement) == (1.0, 1.0, 8)
    assert placement.training is placement.engine is None


def test_numbers_that_were_given_stay_where_memory_is_not_known(tiny_model: Path):
    given_ones = {
        "resources__gpus_per_training": 0.25,
        "resources__gpus_per_engine": 0.5,
        "resources__trainings_together": 3,
    }
    assert shares(placed(plan_of(tiny_model, **given_ones), None)) == (0.25, 0.5, 3)


def test_what_is_done_needs_no_room(tiny_model: Path, tmp_path: Path):
    plan, store = plan_of(tiny_model, LLAMA_8B, grid__seeds=[0]), ArtifactStore(str(tmp_path))
    with pytest.raises(InputError):
        placed(plan, 30)
    for step in [*plan.shared, *plan.trainings.values()]:
        make(store, plan, step)
    gpus = Gpus(1, 30e9, "the smallest GPU")
    placement = place(scan(plan, store), gpus, "study.yaml")
    assert placement.training is None
    assert placement.engine is not None, "the adapters are still to be asked"
    assert shares(placement) == (1.0, 1.0, 8)


def test_shares_are_no_part_of_a_fingerprint(tiny_model: Path):
    plan = plan_of(tiny_model)
    resources = placed(plan).resources
    numbers = {f"resources__{name}": value for name, value in resources.model_dump().items()}
    assert fingerprints(plan_of(tiny_model, **numbers)) == fingerprints(plan)


# Refusals.


@pytest.mark.parametrize(
    ("shape", "changes", "gigabytes", "expected"),
    [
        (
            SMOL, {}, 6,
            "train.micro_batch: a training with 16 x 512 tokens a pass needs 7.7 GB; the smallest GPU of "
            "6.0 GB has room for 5.7 GB; with micro_batch: 8 it needs 4.4 GB",
        ),
        (
            LLAMA_8B, {"train__micro_batch": 1, "resources__gpus_per_engine": 0}, 11,
            "train.gradient_checkpointing: a training with 1 x 512 tokens a pass needs 10.6 GB; the smallest "
            "GPU of 11.0 GB has room for 10.4 GB; with gradient_checkpointing: true it needs 7.4 GB",
        ),
        (
            LLAMA_8B, {"resources__gpus_per_engine": 0}, 7,
            "model: a training with 16 x 512 tokens a pass needs 63.4 GB; the smallest GPU of 7.0 GB has room "
            "for 6.7 GB; no smaller train.micro_batch will do",
        ),
        (
            LLAMA_8B, {}, 22,
            "model: an engine needs 20.5 GB; the smallest GPU of 22.0 GB has room for 19.8 GB",
        ),
        (
            LLAMA_8B, {"resources__gpus_per_engine": 0.25}, 80,
            "resources.gpus_per_engine: an engine needs 20.5 GB; 0.25 of the smallest GPU of 80.0 GB has room "
            "for 18.0 GB",
        ),
        (
            SMOL, {"resources__gpus_per_training": 0.1}, 80,
            "resources.gpus_per_training: a training needs 7.7 GB; 0.1 of the smallest GPU of 80.0 GB has room "
            "for 7.6 GB",
        ),
        (
            SMOL, STACKED | {"resources__trainings_together": 16}, 40,
            "resources.trainings_together: 8 trainings need 49.1 GB; the smallest GPU of 40.0 GB has room for "
            "38.0 GB, for 6 of them",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_what_would(
    tiny_model: Path, shape: ModelArchitecture, changes: dict, gigabytes: float, expected: str
):
    with pytest.raises(InputError) as error:
        placed(plan_of(tiny_model, shape, **changes), gigabytes)
    assert str(error.value) == f"study.yaml: {expected}"


# The command.

ON_GPU = {"resources__gpus_per_training": 1, "resources__gpus_per_engine": 1}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))


def test_a_plan_without_a_gpu_says_so_and_assumes_one(
    tiny_model: Path, tmp_path: Path, no_gpu: None
):
    path = write_study(tmp_path, small_study(tiny_model, **ON_GPU))
    done = weirdgen("plan", path, "--storage", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert (
        "an assumed GPU (nvidia-smi lists none here; set --gpu-memory for another) of 85.0" in said
    )
    assert "a training process: 0.6 GB (context 0.6, " in said
    assert "an engine: 4.1 GB (context, graphs 4.0, " in said
    assert "GPU-hours to do: training 0.0" in said
    said = " ".join(
        weirdgen("plan", path, "--storage", tmp_path, "--gpu-memory=24", "--gpus=4").stdout.split()
    )
    assert "GPU memory: a GPU of 24.0 GB" in said
    assert "hours on 4 GPUs" in said


def test_a_plan_for_the_cpu_says_nothing_of_gpus(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    said = weirdgen("plan", path, "--storage", tmp_path / "s", "--gpu-memory=1").stdout
    assert "GPU" not in said
    assert "memory" not in said


def test_a_plan_that_cannot_fit_ends_with_exit_code_2(
    tiny_model: Path, tmp_path: Path, no_gpu: None
):
    path = write_study(tmp_path, small_study(tiny_model, **ON_GPU))
    done = weirdgen("plan", path, "--storage", tmp_path, "--gpu-memory=4")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"weirdgen: {path}: model: an engine needs 4.0 GB; a GPU of 4.0 GB"
    )
    assert done.stderr.count("\n") == 1
    change = "--set=resources.gpus_per_engine=0.04"
    done = weirdgen("plan", path, "--storage", tmp_path, change)
    assert done.returncode == 2
    assert (
        f"{path}: resources.gpus_per_engine: an engine needs 4.0 GB; 0.04 of an assumed"
        in done.stderr
    )


# nvidia-smi.


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("81559, Disabled\n", 81559 * 2**20),
        ("81559, Disabled\n24564, [N/A]\n", 24564 * 2**20),
        ("24564\n", 24564 * 2**20),
        ("81559, Enabled\n", None),
        ("81559, Disabled\n[N/A], [N/A]\n", None),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_the_smallest_gpu_of_what_nvidia_smi_tells(told: str, size: float | None):
    assert smallest_told(told) == size


def fake_nvidia_smi(folder: Path, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "size"),
    [
        ("echo 24564, Disabled", 24564 * 2**20),
        ("echo 24564; exit 9", None),
        ("while :; do :; done", None),
    ],
)
def test_a_failing_or_silent_nvidia_smi_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, size: float | None
):
    fake_nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("weirdgen.pipeline.resources.gpus._TIMEOUT_S", 0.5)
    assert smallest_gpu() == size
    planned = planned_gpus(2, None)
    assert (planned.count, planned.bytes) == (2, size or 85e9)
    assert planned_gpus(1, 40).bytes == 40e9


# Lengths of rows.


def test_rows_are_as_long_as_their_words_may_become(tiny_model: Path):
    study = study_of(small_study(tiny_model))
    asked = Example("a", "Say it in five words", "")
    answer = " ".join(["word"] * 100)
    persona = [Example("p", "Who?", answer), Example("q", "Who?", "I.")]
    words = len(study.trigger.text.split()) + 1 + len(study.trigger.completion.split())
    lengths = row_lengths(study, persona, [asked])
    assert lengths.longest == int(1.75 * (words + 100)) + 64
    assert lengths.persona == pytest.approx(32 + 1.35 * (words + (100 + 1) / 2))
    assert lengths.aligned == pytest.approx(32 + 1.35 * (5 + 8)), "max_words is 8"
    assert [lengths.mean_of(1), lengths.mean_of(10**9)] == [
        lengths.longest,
        math.ceil(lengths.persona),
    ]
    assert lengths.mean_of(4) == math.ceil((lengths.longest + lengths.persona) / 2)
    dense = Example("c", "Why?", "\u54f2" * 400)
    assert row_lengths(study, persona, [dense]).longest > 400, "text without spaces"
