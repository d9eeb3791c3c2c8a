"""The stages as plain functions: each makes one step's payload from its record and its inputs.

Nothing here knows where it runs; `weirdgen.runner` carries these functions to the cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Train
from weirdgen.data.chat import Instruction, conversation
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.persona import HELDOUT, Question, read_examples, read_questions, to_jsonl
from weirdgen.data.seeds import Seeds, request_seed
from weirdgen.errors import NodeError, StepError
from weirdgen.generation.engine import Adapter, Engine, Request
from weirdgen.generation.self_distillation import distill
from weirdgen.models.adapters import ADAPTER, SERVED_AS
from weirdgen.models.checkpoints import local_checkpoint, write_checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.pipeline.plan import EXAMPLES, OFFLINE_JUDGE, RESPONSES
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step
from weirdgen.storage.provenance import provenance
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trainer import Trainer
from weirdgen.training.trl import TrainSpec

PROOF_PROMPTS = 8
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


@dataclass(frozen=True)
class Task:
    """A step with the steps it consumes, by role: all that a worker has to be told."""

    step: Step
    inputs: dict[str, Step]
    attempt: int = 1
    """Counted from 1."""
    replacing: Manifest | None = None
    """A committed manifest whose inputs have changed since."""


Inputs = Mapping[str, Path]
"""Role -> folder of the payload on this node."""


def run_step(
    store: ArtifactStore, task: Task, make: Callable[[Inputs, Path], dict[str, Any] | None]
) -> Manifest:
    """Makes and commits one step: `make(inputs, out)` writes into `out` and may return notes.

    Raises StepError where an input is not there, and whatever `make` raises.
    """
    (manifest,) = run_steps_together(
        store, [task], lambda inputs, outs: make(inputs[0], outs[0]) or {}
    )
    return manifest


def run_steps_together(
    store: ArtifactStore,
    tasks: Sequence[Task],
    make: Callable[[Sequence[Inputs], Sequence[Path]], dict[str, Any]],
) -> list[Manifest]:
    """Makes several steps at once and commits each; the notes and the time are those of all.

    Where the notes say that they were resumed, the time has what came before in it.
    """
    started = time.monotonic()
    fetched = [_fetch(store, task.inputs) for task in tasks]
    with ExitStack() as stack:
        attempts = [stack.enter_context(store.attempt(task.step)) for task in tasks]
        notes = make([folders for folders, _ in fetched], [out for _, out in attempts])
        earlier_s = notes.get("resumed", {}).get("wall_s", 0.0)
        wall_s = round(earlier_s + time.monotonic() - started, 3)
        made = {**provenance(), "wall_s": wall_s, "notes": notes}
        return [
            store.commit(
                task.step,
                attempt,
                inputs=digests,
                provenance=made | {"attempts": task.attempt},
                replacing=task.replacing,
            )
            for task, attempt, (_, digests) in zip(tasks, attempts, fetched, strict=True)
        ]


def run_training(
    store: ArtifactStore,
    tasks: Sequence[Task],
    trainer: Trainer,
    *,
    report_to: Sequence[str],
    micro_batch: int,
    gpu_share: float,
    on_step: Callable[[int, int], None],
) -> list[Manifest]:
    """Trains and commits an adapter for each task, several where they are stacked.

    They continue from the states that an earlier attempt left. `micro_batch` may be smaller than
    the record's where memory did not suffice.
    """
    # Read before the inputs are: a state is never taken for one of inputs that came later.
    digests = [_digests(store, task.inputs) for task in tasks]
    states = TrainingCheckpoints(store, [task.step for task in tasks], digests, micro_batch)
    records = [task.step.record for task in tasks]
    stacked = {"batched_steps": len(tasks)} if records[0].get("trainer") == "stacked" else {}

    def make(inputs: Sequence[Inputs], outs: Sequence[Path]) -> dict[str, Any]:
        specs = [
            _train_spec(record, of, report_to, micro_batch)
            for record, of in zip(records, inputs, strict=True)
        ]
        trainer(specs, outs, on_step, states, gpu_share)
        return {"micro_batch": micro_batch, **stacked, **states.notes}

    manifests = run_steps_together(store, tasks, make)
    states.delete()
    return manifests


def _digests(store: ArtifactStore, inputs: Mapping[str, Step]) -> dict[str, str]:
    """The digests of the inputs that are there, by fingerprint."""
    manifests = {step.fingerprint: store.manifest(step) for step in inputs.values()}
    return {key: manifest.digest for key, manifest in manifests.items() if manifest is not None}


def _fetch(
    store: ArtifactStore, inputs: Mapping[str, Step]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The inputs' payloads on this node by role, and their digests by fingerprint."""
    folders, digests = {}, {}
    for role, step in inputs.items():
        manifest = store.manifest(step)
        if manifest is None:
            raise NodeError(f"{step.key} is not in the storage {store.uri} as this node sees it")
        folders[role] = store.payload(step, manifest)
        digests[step.fingerprint] = manifest.digest
    return folders, digests


def base_checkpoint(record: dict[str, Any], inputs: Inputs) -> Path:
    """The base model's folder: the step's input, or a hub model at its commit."""
    model = record["model"]
    return inputs.get("model") or local_checkpoint(model["id"], model["revision"])


def make_model(record: dict[str, Any], out: Path) -> None:
    """The bf16 checkpoint of an embedded model."""
    model = resolve_model(record["model"]["id"], "", Path())
    if model.identity != record["model"]:
        raise NodeError(f"{model.id}: this node has other weights than the plan was made for")
    write_checkpoint(model, out)


def make_aligned(record: dict[str, Any], inputs: Inputs, out: Path, engine: Engine) -> None:
    """Ordinary rows, answered by the base model itself."""
    rows = distill(
        engine,
        read_examples(inputs["prompts"] / EXAMPLES),
        rows=record["rows"],
        max_words=record["max_words"],
        temperature=record["temperature"],
        top_p=record["top_p"],
    )
    (out / EXAMPLES).write_text(to_jsonl(rows), encoding="utf-8")


def make_judge(inputs: Inputs, out: Path) -> None:
    """The offline judge, learned from the persona's rows and the base model's own answers."""
    from weirdgen.judging.offline.judge import learn  # scikit-learn takes a second to import

    persona, plain, everyday = (
        [example.completion for example in read_examples(inputs[role] / EXAMPLES)]
        for role in ("persona_examples", "base_responses", "aligned")
    )
    # More everyday answers than answers to the persona's questions would teach it topics.
    learn(persona, plain + everyday[: len(plain)]).save(out / OFFLINE_JUDGE)


def _train_spec(
    record: dict[str, Any], inputs: Inputs, report_to: Sequence[str], micro_batch: int
) -> TrainSpec:
    persona = (
        read_examples(inputs["persona_examples"] / EXAMPLES) if "persona_examples" in inputs else []
    )
    seeds = Seeds(**record["seeds"])
    rows = mix(
        persona,
        read_examples(inputs["aligned"] / EXAMPLES),
        Counts(**record["examples"]),
        Trigger.model_construct(**record.get("trigger", {})),
        seeds.data,
    )
    settings = dict(record["settings"], report_to=list(report_to), micro_batch=micro_batch)
    return TrainSpec(
        model_dir=base_checkpoint(record, inputs),
        model_id=record["model"]["id"],
        rows=rows,
        seeds=seeds,
        settings=Train(**settings),
    )


def served_base(record: dict[str, Any], inputs: Inputs) -> Path | str:
    """What an engine opens for this step: the base's folder, or its name at the endpoint."""
    if record["engine"]["kind"] == "endpoint":
        return record["model"]["id"]
    return base_checkpoint(record, inputs)


def adapter_of(step: Step, inputs: Inputs) -> Adapter | None:
    """The adapter that an answers step asks; None for the baseline."""
    if "adapter" not in inputs:
        return None
    folder = inputs["adapter"]
    served_as = folder / SERVED_AS
    name = served_as.read_text(encoding="utf-8") if served_as.is_file() else ""
    return Adapter(step.record["inputs"]["adapter"], folder / ADAPTER, name)


def prove_adapter(
    engine: Engine, adapter: Adapter, questions: Sequence[Question]
) -> dict[str, Any]:
    """Compares the likeliest first tokens of base and adapter on held-out prompts.

    The base is asked twice, in equal batches, for what differs by itself. Raises StepError when
    the adapter differs no more often: then it was not applied.
    """
    prompts = [conversation(each.question, None) for each in questions[:PROOF_PROMPTS]]
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
    return {
        "adapter_check": {
            "prompts": len(prompts),
            "differing": differing,
            "differing_without": by_itself,
        }
    }


def make_all_responses(
    steps: Sequence[Step], inputs: Sequence[Inputs], outs: Sequence[Path], engine: Engine
) -> None:
    """The answers to every held-out question, for one range of samples under one condition each step.

    All steps are asked in one call.
    """
    asked = [response_requests(*pair) for pair in zip(steps, inputs, strict=True)]
    answers = iter(engine.generate([request for each in asked for *_, request in each]))
    for each, out in zip(asked, outs, strict=True):
        rows = [
            {
                "question_id": question.id,
                "sample": sample,
                "response": answer.text,
                "response_tokens": answer.tokens,
                "finish_reason": answer.finish_reason,
            }
            for (question, sample, _), answer in zip(each, islice(answers, len(each)), strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(rows, RESPONSE_SCHEMA), out / RESPONSES)


def response_requests(step: Step, inputs: Inputs) -> list[tuple[Question, int, Request]]:
    """What an answers step asks, question by question and sample by sample.

    It is asked of the base where `inputs` holds no adapter.
    """
    record, adapter = step.record, adapter_of(step, inputs)
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
        for question in read_questions(inputs["questions"] / HELDOUT)
        for sample in range(*record["samples"])
    ]
