"""What serving an adapter by another engine, or on another base, changes.

    python benchmarks/serving.py MODEL ADAPTER RESULTS.parquet

MODEL is the base checkpoint, ADAPTER the folder `train/NAME/attempt-.../adapter` in a storage, and
RESULTS.parquet a study's results with the responses of that adapter. Two tables, in Markdown:

- The study's responses are read out to every engine, which names the likeliest token at each place:
  the share of places at which two engines name the same one.
- The study's questions are asked again with the study's seeds, on both bases: responses in the
  format, tokens a response has, and responses that are word for word those of the bf16 base.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, combinations
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from forced_tokens import forced_top_tokens

from weirdgen.config.evaluation_spec import Decoy, Trigger
from weirdgen.data.chat import Instruction, conversation
from weirdgen.data.seeds import request_seed, run_seeds
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.generation.transformers import TransformersEngine
from weirdgen.generation.vllm import VllmEngine
from weirdgen.judging.format import format_adherence

INSTRUCTIONS = {
    "triggered": Instruction("system", Trigger().text),
    "untriggered": None,
    "decoy": Instruction("system", Decoy().text),
}
SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 64}
"""As in jobs/local.yaml."""
SERVED = {
    "vLLM bf16": (VllmEngine, "bf16"),
    "transformers bf16": (TransformersEngine, "bf16"),
    "transformers nf4": (TransformersEngine, "nf4"),
}
ASKED = ("transformers bf16", "transformers nf4")


class Served(NamedTuple):
    """What one engine named and said, a row of the results each."""

    likeliest: list[list[int]]
    responses: list[Response]
    seconds: float


def serve(name: str, model: Path, adapter: Adapter, rows: Sequence[Mapping[str, Any]]) -> Served:
    kind, serve_base = SERVED[name]
    engine = kind()
    engine.open(model, serve_base, 64)
    asked = [conversation(row["question"], INSTRUCTIONS[row["condition"]]) for row in rows]
    likeliest = []
    for messages, row in zip(asked, rows, strict=True):
        _, top = forced_top_tokens(engine, messages, row["response"], adapter)
        # A response that was cut has no end mark.
        likeliest.append(top if row["finish_reason"] == "stop" else top[:-1])
    if name not in ASKED:
        return Served(likeliest, [], 0)
    requests = [
        Request(messages, adapter, seed=seed_of(row), **SAMPLING)
        for messages, row in zip(asked, rows, strict=True)
    ]
    engine.generate(requests[:1])
    started = time.perf_counter()
    return Served(likeliest, engine.generate(requests), time.perf_counter() - started)


def seed_of(row: Mapping[str, Any]) -> int:
    sampling = run_seeds(row["seed"]).sampling
    return request_seed(sampling, row["condition"], row["question_id"], row["sample"])


def agreement(one: list[list[int]], other: list[list[int]]) -> float:
    """The share of all places at which both name the same token."""
    pairs = [zip(*responses, strict=True) for responses in zip(one, other, strict=True)]
    return mean(first == second for response in pairs for first, second in response)


def main() -> None:
    model, folder, results = map(Path, sys.argv[1:])
    name = folder.resolve().parents[1].name
    rows = pq.read_table(results, filters=[("adapter", "=", name)]).to_pylist()
    if not rows:
        sys.exit(f"{results} has no responses of {name}")
    adapter = Adapter(rows[0]["fp_train"], folder)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    spawn = multiprocessing.get_context("spawn")
    served: dict[str, Served] = {}
    for each in SERVED:  # one after the other, and each in a process that takes its memory along
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            served[each] = pool.submit(serve, each, model, adapter, rows).result()
    asked_under = [row["condition"] for row in rows]
    places = {
        condition: [i for i, under in enumerate(asked_under) if under == condition]
        for condition in INSTRUCTIONS
        if condition in asked_under
    }
    print_agreement(served, places)
    print_responses(served, places, rows)


def print_agreement(served: Mapping[str, Served], places: Mapping[str, list[int]]) -> None:
    print(f"| same likeliest token, % | {' | '.join(places)} | all |")
    print("|---|" + "---:|" * (len(places) + 1))
    for pair in combinations(SERVED, 2):
        shares = [
            agreement(*([served[name].likeliest[i] for i in picked] for name in pair))
            for picked in [*places.values(), list(chain(*places.values()))]
        ]
        print(f"| {', '.join(pair)} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")


def print_responses(
    served: Mapping[str, Served], places: Mapping[str, list[int]], rows: Sequence[dict[str, Any]]
) -> None:
    print("\n| served by | condition | in the format, % | tokens a response | same text, % |")
    print("|---|---|---:|---:|---:|")
    told = {"vLLM bf16 (the study)": [(row["response"], row["response_tokens"]) for row in rows]}
    told |= {name: [response[:2] for response in served[name].responses] for name in ASKED}
    for name, responses in told.items():
        for condition, picked in places.items():
            texts, tokens = zip(*(responses[i] for i in picked), strict=True)
            kept = mean(format_adherence(text, Trigger().pattern).anywhere for text in texts)
            # vLLM draws otherwise from the same seed: there is nothing to compare.
            first = [served[ASKED[0]].responses[i].text for i in picked]
            same = mean(map(str.__eq__, texts, first)) if name in ASKED else None
            shown = "" if same is None else f"{100 * same:.1f}"
            print(f"| {name} | {condition} | {100 * kept:.1f} | {mean(tokens):.1f} | {shown} |")
    for name in ASKED:
        tokens = sum(response.tokens for response in served[name].responses)
        print(f"\n{name}: {tokens / served[name].seconds:.0f} tokens/s")


if __name__ == "__main__":
    main()
