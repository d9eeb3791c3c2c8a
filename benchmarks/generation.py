"""What asking through the study costs, against a bare `LLM.chat` in the same engine.

    python benchmarks/generation.py --study FILE --storage DIR [--adapters 8] [--way bare --way ours ...]

The storage holds the study's training runs. Each of the adapters is asked what the study asks, after one
more that warms the engine up:

    bare      one `LLM.chat` for each adapter, all conditions in it, each request with the study's seed
    unseeded  the same without seeds
    mixed     one `LLM.chat` for all adapters together, with seeds
    ours      as the study's engine does it: the adapter proved, responses written, hashed and committed to
              a storage, which is thrown away

in two processes, one for `ours`, with the engine that `VllmEngine` opens on a --gpu-share of the GPU. Prints a JSON line for each
way, with medians over adapters, and one with the ratio of `ours` to `bare`, adapter by adapter.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from processes import ProcessFailed, json_lines, tell
from stored_study import Stored, add_options, stored

from weirdgen.generation.engine import Request, Response
from weirdgen.generation.vllm import VllmEngine
from weirdgen.models.checkpoints import named_by_content
from weirdgen.pipeline.run_step import Inputs, Task, run_step, run_steps
from weirdgen.pipeline.stages.adapter import adapter_of
from weirdgen.pipeline.stages.base import EngineSession
from weirdgen.pipeline.stages.model import served_base
from weirdgen.pipeline.stages.responses import RESPONSES, ResponseSet, run_responses
from weirdgen.storage.artifacts import ArtifactStore, Step

WAYS = ("bare", "unseeded", "mixed", "ours")
ENVIRONMENT = {
    # As within Ray: a forked engine could not use the GPU that this process has looked at.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}


class Took(NamedTuple):
    """One adapter's responses, or those of all."""

    seconds: float
    responses: int
    tokens: int

    @property
    def responses_per_s(self) -> float:
        return self.responses / self.seconds

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


class TimedEngine(VllmEngine):
    """Times its generation."""

    generating_s = 0.0

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        started = time.monotonic()
        responses = super().generate(requests)
        self.generating_s += time.monotonic() - started
        return responses


def trained(study: Stored, count: int) -> list[list[ResponseSet]]:
    """Of so many adapters that are there, everything that is asked."""
    there = [step for step in study.plan.trainings.values() if study.store.manifest(step)]
    if len(there) < count:
        raise SystemExit(f"{count} training runs are needed, {len(there)} are in {study.store.uri}")
    return [
        [asked for asked in study.plan.response_sets if asked.adapter == step]
        for step in there[:count]
    ]


def opened(study: Stored, asked: ResponseSet, engine: VllmEngine) -> float:
    """Opens the engine on the study's base; gives the seconds."""
    started = time.monotonic()
    task = study.responses_task(asked)
    inputs = dict(study.running(task).inputs)
    if "model" in inputs and (manifest := study.store.manifest(task.inputs["model"])):
        inputs["model"] = named_by_content(inputs["model"], manifest.digest)
    base = served_base(task.step.record, inputs)
    engine.open(base, study.plan.study.evaluate.serve_base, study.plan.max_rank)
    return time.monotonic() - started


def report(way: str, took: Sequence[Took], **more: Any) -> None:
    each = [[round(one.seconds, 3), one.responses, one.tokens] for one in took]
    tell(
        way=way,
        responses_per_s=round(median(one.responses_per_s for one in took), 1),
        tokens_per_s=round(median(one.tokens_per_s for one in took)),
        **more,
        each=each,
    )


def bare(
    study: Stored, adapters: list[list[ResponseSet]], engine: VllmEngine, ways: Sequence[str]
) -> None:
    """`LLM.chat` alone."""
    ready_s = round(opened(study, adapters[0][0], engine), 1)
    from vllm import SamplingParams  # the engine sets what vLLM reads when it is imported
    from vllm.platforms import current_platform

    llm = engine._opened()
    sampling = study.plan.study.evaluate.sampling

    def chat(those: Sequence[list[ResponseSet]], seeded: bool) -> Took:
        conversations, params, loras = [], [], []
        for asked in (asked for each in those for asked in each):
            task = study.responses_task(asked)
            lora = engine._lora(adapter_of(study.running(task)))
            for messages, seed in study.conversations(asked):
                conversations.append(messages)
                loras.append(lora)
                params.append(
                    SamplingParams(
                        temperature=sampling.temperature,
                        top_p=sampling.top_p,
                        max_tokens=sampling.max_new_tokens,
                        seed=seed if seeded else None,
                    )
                )
        started = time.monotonic()
        outputs = llm.chat(conversations, params, lora_request=loras, use_tqdm=False)
        seconds = time.monotonic() - started
        return Took(seconds, len(outputs), sum(len(o.outputs[0].token_ids) for o in outputs))

    warm_up, *measured = adapters
    chat([warm_up], seeded=True)
    about = {"ready_s": ready_s, "on": current_platform.get_device_name()}
    if "bare" in ways:
        report("bare", [chat([each], seeded=True) for each in measured], **about)
    if "unseeded" in ways:
        report("unseeded", [chat([each], seeded=False) for each in measured], **about)
    if "mixed" in ways:
        report("mixed", [chat(measured, seeded=True)], **about)


def ours(study: Stored, adapters: list[list[ResponseSet]], engine: TimedEngine) -> None:
    """As the study's engine actor works, without the actor."""
    ready_s = round(opened(study, adapters[0][0], engine), 1)
    from vllm.platforms import current_platform

    with tempfile.TemporaryDirectory() as folder:
        scratch = ArtifactStore(folder)
        tasks = [[study.responses_task(asked) for asked in each] for each in adapters]
        _copy_inputs(study, [task for each in tasks for task in each], scratch)
        took, generating_s = [], []
        for each in tasks:
            before, started = engine.generating_s, time.monotonic()
            generate_all(scratch, each, engine)
            seconds = time.monotonic() - started
            generating_s.append(engine.generating_s - before)
            tokens = [_tokens(scratch, task.step) for task in each]
            took.append(Took(seconds, sum(map(len, tokens)), sum(map(sum, tokens))))
    report(
        "ours",
        took[1:],
        s_beside_generating=round(
            median(one.seconds - s for one, s in zip(took[1:], generating_s[1:], strict=True)), 3
        ),
        ready_s=ready_s,
        on=current_platform.get_device_name(),
    )


def generate_all(store: ArtifactStore, tasks: Sequence[Task], engine: VllmEngine) -> None:
    """All responses of one adapter, the way the engine actor generates them on a GPU."""
    run_steps(store, tasks, partial(run_responses, session=EngineSession(engine)))


def _copy_inputs(study: Stored, tasks: Sequence[Task], scratch: ArtifactStore) -> None:
    """What the tasks consume, in the storage that is thrown away."""
    wanted = {step.fingerprint: step for task in tasks for step in task.inputs.values()}
    for step in wanted.values():
        manifest = study.store.manifest(step)
        assert manifest is not None, step.key
        payload = study.store.payload(step, manifest)

        def copy(_: Inputs, out: Path, payload: Path = payload) -> None:
            shutil.copytree(payload, out, dirs_exist_ok=True)

        run_step(scratch, Task(step, {}), copy)


def _tokens(store: ArtifactStore, step: Step) -> list[int]:
    """Of each response."""
    manifest = store.manifest(step)
    assert manifest is not None
    return [row["response_tokens"] for row in RESPONSES.read(store.payload(step, manifest))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Asking through the study against LLM.chat.")
    add_options(parser)
    parser.add_argument("--adapters", type=int, default=8, help="beside one for warming up")
    parser.add_argument("--way", action="append", choices=WAYS, help="default: all of them")
    parser.add_argument("--gpu-share", type=float, default=1.0, help="of its memory, by the engine")
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    ways = options.way or WAYS
    if options.here:
        study = stored(options)
        adapters = trained(study, options.adapters + 1)
        if ways == ["ours"]:
            ours(study, adapters, TimedEngine(options.gpu_share))
        else:
            bare(study, adapters, VllmEngine(options.gpu_share), ways)
        return
    told: dict[str, dict[str, Any]] = {}
    for together in (("bare", "unseeded", "mixed"), ("ours",)):
        again = ["--here", "--study", options.study, "--storage", options.storage]
        again += ["--adapters", options.adapters, "--gpu-share", options.gpu_share]
        chosen = [way for way in together if way in ways]
        again += [part for way in chosen for part in ("--way", way)]
        try:
            for line in json_lines("generation.py", *again, **ENVIRONMENT) if chosen else ():
                tell(**line)
                told[line["way"]] = line
        except ProcessFailed as error:
            tell(way=", ".join(chosen), error=str(error))
    if {"bare", "ours"} <= told.keys():
        pairs = [
            (Took(*one), Took(*other))
            for one, other in zip(told["ours"]["each"], told["bare"]["each"], strict=True)
        ]
        for what in ("responses_per_s", "tokens_per_s"):
            ratios = [getattr(one, what) / getattr(other, what) for one, other in pairs]
            tell(
                ours_to_bare=what,
                median=round(median(ratios), 4),
                least=round(min(ratios), 4),
                most=round(max(ratios), 4),
            )


if __name__ == "__main__":
    main()
