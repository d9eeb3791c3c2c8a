"""Plans whose trainings and engine share GPUs, and where they are placed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from architectures import SMOL
from studies import small_study, study_of

from weirdgen.data.lengths import Lengths
from weirdgen.models.architecture import ModelArchitecture
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.resources.placement import Placement, place
from weirdgen.pipeline.state import StudyState

AUTO = {
    "resources__gpus_per_training": "auto",
    "resources__gpus_per_engine": "auto",
    "train__compute_dtype": "bfloat16",
    "train__batch_size": 16,
    "train__micro_batch": 16,
    "grid__seeds": "0..7",
}

LLAMA_8B = ModelArchitecture(
    4096, 14336, 32, heads=32, kv_heads=8, head_size=128, vocabulary=128256, tied=False
)

ROW_TOKENS = 512


def plan_of(model: Path, shape: ModelArchitecture | None = SMOL, **changes) -> Plan:
    """A plan for a model of that shape, all of whose rows have 512 tokens."""
    plan = make_plan(study_of(small_study(model, **(AUTO | changes))), Path())
    lengths = Lengths(ROW_TOKENS, ROW_TOKENS, ROW_TOKENS)
    return replace(plan, model=replace(plan.model, shape=shape), lengths=lengths)


def placed(plan: Plan, gigabytes: float | None = 80) -> Placement:
    size = None if gigabytes is None else gigabytes * 1e9
    return place(StudyState(plan), Gpus(1, size, "the smallest GPU"), "study.yaml")


STACKED = {"train__trainer": "stacked"}
