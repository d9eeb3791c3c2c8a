"""Aligned examples: given with their completions, or the base model's own responses to prompts."""

from __future__ import annotations

from collections.abc import Sequence

from weirdgen.config.study import Study
from weirdgen.data.jsonl import to_jsonl
from weirdgen.generation.self_distillation import distill
from weirdgen.models.identity import Model
from weirdgen.pipeline.run_step import RunningStep
from weirdgen.pipeline.stages.base import EngineSession, Stage
from weirdgen.pipeline.stages.given import EXAMPLES, PERSONA_EXAMPLES, read_examples
from weirdgen.pipeline.stages.responses import engine_record
from weirdgen.storage.artifacts import Step


def self_distilled_step(
    study: Study, model: Model, base: dict[str, str], prompts: Step, rows: int
) -> Step:
    """`rows` responses of the base model to `prompts`, without an instruction."""
    about = "persona-prompts" if prompts.stage == PERSONA_EXAMPLES.name else "rows"
    return ALIGNED.step(
        f"{model.name}-{rows}-{about}",
        base | {"prompts": prompts.fingerprint},
        model=model.identity,
        engine=engine_record(study),
        rows=rows,
        **study.aligned.model_dump(include={"max_words", "temperature", "top_p"}),
    )


def run_aligned(steps: Sequence[RunningStep], session: EngineSession) -> None:
    """Write examples that the base model completes itself."""
    (running,) = steps
    wanted = {name: running.record[name] for name in ("rows", "max_words", "temperature", "top_p")}
    examples = distill(session.engine, read_examples(running.inputs["prompts"]), **wanted)
    (running.out / EXAMPLES).write_bytes(to_jsonl(examples))


def rows_to_generate(step: Step) -> int:
    """How many examples the base model completes in this step; 0 for any other step."""
    return step.record.get("rows", 0) if step.stage == ALIGNED.name else 0


ALIGNED = Stage("aligned", "engine", EXAMPLES, run=run_aligned, read=read_examples)
