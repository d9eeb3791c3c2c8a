"""How fast the study's engine serves a large model: a Llama with random weights and an adapter.

    python benchmarks/serve_random.py [--size 8b] [--requests 900] [--new-tokens 128]

Prints, as JSON lines, the seconds until the engine was open, the proof that the adapter is applied,
and responses/s and tokens/s of the base and of the adapter, each after a few requests for warming up. The
random model hardly ever ends a response: all have --new-tokens tokens.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from processes import tell
from random_llama import SIZES, add_options, random_llama, write_random_adapter

from weirdgen.data.chat import conversation
from weirdgen.data.persona import find_persona
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.vllm import VllmEngine
from weirdgen.pipeline.stages.responses import check_adapter

RANK = 8
WARM_UP = 16
"""Requests."""


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a large model is served.")
    add_options(parser)
    parser.add_argument("--size", choices=SIZES, default="8b")
    parser.add_argument("--requests", type=int, default=900)
    parser.add_argument("--new-tokens", type=int, default=128)
    options = parser.parse_args()
    model = random_llama(options.size, options)
    # As within Ray: a forked engine could not use the GPU that this process has looked at.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    questions = find_persona("bertrand_russell", Path(), "persona").heldout
    with tempfile.TemporaryDirectory() as folder:
        write_random_adapter(model, RANK, Path(folder))
        adapter = Adapter("random", Path(folder))
        started = time.monotonic()
        engine = VllmEngine()
        engine.open(model, "bf16", RANK)
        seconds = time.monotonic() - started
        from vllm.platforms import current_platform

        tell(did="engine opened", s=round(seconds, 1), on=current_platform.get_device_name())
        tell(**check_adapter(engine, adapter, questions))
        for way, who in (("base", None), ("adapter", adapter)):
            requests = [
                Request(conversation(each.question, None), who, options.new_tokens, 1.0, 0.95, seed)
                for seed, each in enumerate(islice(cycle(questions), options.requests))
            ]
            engine.generate(requests[:WARM_UP])
            started = time.monotonic()
            responses = engine.generate(requests)
            seconds = time.monotonic() - started
            tokens = sum(response.tokens for response in responses)
            tell(
                way=way,
                responses_per_s=round(len(responses) / seconds, 1),
                tokens_per_s=round(tokens / seconds),
                tokens_per_response=round(tokens / len(responses), 1),
            )


if __name__ == "__main__":
    main()
