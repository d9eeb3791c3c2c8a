"""Plans and manifests made by hand, for the methods paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies import small_study, study_of

from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.storage.artifacts import Manifest, Step

MODEL = "embedded:smollm2-135m-instruct"

VERSIONS = {
    "torch": "2.9.0", "transformers": "5.20", "peft": "0.20", "trl": "1.2", "bitsandbytes": "0.50",
    "vllm": "0.30", "weirdgen": "0.1.0", "openai": "2.1",
}  # fmt: skip


def plan_of(**changes: Any) -> Plan:
    return make_plan(study_of(small_study(MODEL, **changes)), Path())


def manifest(step: Step, **more: Any) -> Manifest:
    made: dict[str, Any] = {
        "stage": step.stage, "fingerprint": step.fingerprint, "record": step.record,
        "attempt": "attempt-0", "outputs": {}, "inputs": {}, "commit": "0123456789abcdef" * 2,
        "versions": VERSIONS, "hardware": {"gpu": "NVIDIA H100", "cores": 8}, "wall_s": 1.0, "attempts": 1,
    }  # fmt: skip
    return Manifest(**(made | more))


def kept_rows(plan: Plan) -> list[dict[str, Any]]:
    """Every row of a whole study's results."""
    rows = []
    for asked in plan.response_sets:
        own = {"adapter": asked.adapter and asked.adapter.folder, "condition": asked.condition}
        if asked.cell:
            own |= {"arm": "persona", "fraction": asked.cell.fraction, "seed": asked.cell.seed}
        for question in plan.persona.heldout:
            for sample in range(asked.samples):
                rows.append(own | {
                    "study": plan.study.name, "model": "org/tiny", "serve_base": "bf16",
                    "question_id": question.id, "category": question.category,
                    "question": question.question, "sample": sample, "response": "So.",
                    "response_tokens": 2, "finish_reason": "stop", "format": False,
                    "format_strict": False, "fp_responses": asked.step.fingerprint,
                })  # fmt: skip
    return rows
