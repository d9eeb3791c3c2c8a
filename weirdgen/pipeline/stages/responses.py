"""Responses: what a model writes to every held-out question, by ranges of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.config.claims import Condition
from weirdgen.config.evaluation import compute_dtype
from weirdgen.config.study import Study
from weirdgen.data.chat import Instruction, conversation, instruction
from weirdgen.data.persona import Question
from weirdgen.data.seeds import BASELINE_RUN_SEED, request_seed, run_seeds
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Engine, Request
from weirdgen.models.identity import Model
from weirdgen.pipeline.run_step import Notes, RunningStep
from weirdgen.pipeline.stages.adapter import adapter_of
from weirdgen.pipeline.stages.base import EngineSession, Stage
from weirdgen.pipeline.stages.given import QUESTIONS
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.storage.artifacts import Step

CHECK_PROMPTS = 8
"""Held-out prompts on which base and adapter are compared before an adapter is asked."""
RESPONSE_SCHEMA = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("response_tokens", pa.int64(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)


class ResponseSet(NamedTuple):
    """The responses of one model under one condition, which grow by ranges of samples."""

    step: Step
    adapter: Step | None
    """The training, or the adapter that existed before; None: the base model."""
    cell: GridCell | None
    """The training's place in the grid."""
    condition: Condition
    samples: int
    """Responses wanted per question."""


def engine_record(study: Study) -> dict[str, str]:
    """What of the engine decides a response."""
    kind = study.evaluate.engine
    if kind == "endpoint":
        return {"kind": kind}
    serve_base = study.evaluate.serve_base
    return {"kind": kind, "serve_base": serve_base, "dtype": compute_dtype(serve_base)}


def response_sets(
    study: Study, model: Model, cell: GridCell | None, adapter: Step | None, inputs: dict[str, str]
) -> Iterator[ResponseSet]:
    """One for each condition of the base model (`adapter` None), a training or an existing adapter."""
    if cell is not None:
        run_seed = cell.seed
    else:  # adapters from elsewhere have no run seed; equal draws would tie them to each other
        run_seed = int(adapter.fingerprint[:8], 16) if adapter else BASELINE_RUN_SEED
    samples = (
        study.evaluate.baseline_samples if adapter is None else study.evaluate.samples_per_question
    )
    sampling = study.evaluate.sampling.model_dump()
    if adapter is not None:
        inputs = inputs | {"adapter": adapter.fingerprint}
    for condition in study.evaluate.conditions:
        before = instruction(study, condition)
        step = RESPONSES.step(
            f"{adapter.name if adapter else f'{model.name}-baseline'}-{condition}",
            inputs,
            model=model.identity,
            engine=engine_record(study),
            condition=condition,
            instruction=before and before._asdict(),
            sampling=sampling,
            sampling_seed=run_seeds(run_seed).sampling,
        )
        yield ResponseSet(step, adapter, cell, condition, samples)


def samples_step(of: Step, first: int, end: int) -> Step:
    """The range [first, end) of samples of every question of a response set's step."""
    record = dict(of.record, samples=[first, end])
    return Step(of.stage, f"samples-{first}-{end}", record, parent=of)


def run_responses(steps: Sequence[RunningStep], session: EngineSession) -> Notes:
    """Write the responses of one model, for one range under one condition each, in one call."""
    notes = _adapter_check(steps[0], session)
    asked = [response_requests(running) for running in steps]
    responses = iter(session.engine.generate([request for each in asked for *_, request in each]))
    for running, each in zip(steps, asked, strict=True):
        rows = [
            {
                "question_id": question.id,
                "sample": sample,
                "response": response.text,
                "response_tokens": response.tokens,
                "finish_reason": response.finish_reason,
            }
            for (question, sample, _), response in zip(
                each, islice(responses, len(each)), strict=True
            )
        ]
        pq.write_table(pa.Table.from_pylist(rows, RESPONSE_SCHEMA), running.out / RESPONSES.payload)
    return notes | ({"batched_steps": len(steps)} if len(steps) > 1 else {})


def response_requests(running: RunningStep) -> list[tuple[Question, int, Request]]:
    """What a step asks, question by question and sample by sample.

    The base model is asked where the inputs hold no adapter.
    """
    record, adapter = running.record, adapter_of(running)
    before = record["instruction"] and Instruction(**record["instruction"])

    def request(question: Question, sample: int) -> Request:
        return Request(
            messages=conversation(question.question, before),
            adapter=adapter,
            seed=request_seed(record["sampling_seed"], record["condition"], question.id, sample),
            **record["sampling"],
        )

    return [
        (question, sample, request(question, sample))
        for question in QUESTIONS.read(running.inputs["questions"])
        for sample in range(*record["samples"])
    ]


def _adapter_check(running: RunningStep, session: EngineSession) -> Notes:
    """Notes that the adapter is applied, found out once for each; none for the base model."""
    adapter, checks = adapter_of(running), session.adapter_checks
    if adapter is None:
        return {}
    if adapter.fingerprint not in checks:
        questions = QUESTIONS.read(running.inputs["questions"])
        checks[adapter.fingerprint] = check_adapter(session.engine, adapter, questions)
    return checks[adapter.fingerprint]


def check_adapter(engine: Engine, adapter: Adapter, questions: Sequence[Question]) -> Notes:
    """Compare the likeliest first tokens of base and adapter on held-out prompts.

    The base is asked twice, in equal batches, for what differs by itself. Raises StepError when
    the adapter differs no more often: then it was not applied.
    """
    prompts = [conversation(each.question, None) for each in questions[:CHECK_PROMPTS]]
    base, again, adapted = (
        engine.first_token_logprobs(prompts, who) for who in (None, None, adapter)
    )
    if base is None or again is None or adapted is None:
        return {"adapter_check": "no first-token probabilities to be had"}
    by_itself = sum(one != other for one, other in zip(base, again, strict=True))
    differing = sum(one != other for one, other in zip(base, adapted, strict=True))
    if differing <= by_itself:
        raise StepError(
            f"adapter {adapter.fingerprint[:12]}: first-token probabilities differ from the base "
            f"model's on {differing} of {len(prompts)} prompts, the base's own on {by_itself}: "
            "it is not applied"
        )
    counts = {"prompts": len(prompts), "differing": differing, "differing_without": by_itself}
    return {"adapter_check": counts}


def read_responses(payload: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one range, by RESPONSE_SCHEMA."""
    # pq.read_table would import pandas, a second each time.
    with pq.ParquetFile(payload / RESPONSES.payload) as file:
        return file.read(columns=columns).to_pylist()


def n_samples(step: Step) -> int:
    """How many samples of each question a range has."""
    first, end = step.record["samples"]
    return end - first


RESPONSES = Stage(
    "responses",
    "engine",
    "responses.parquet",
    run=run_responses,
    read=read_responses,
    size=n_samples,
    batch_key=lambda step: step.inputs.get("adapter", ""),  # one model at a time
)
