"""Self-distillation: the base model completes the aligned prompts itself."""

from __future__ import annotations

from collections.abc import Sequence

from weirdgen.data.aligned import cut_words
from weirdgen.data.chat import conversation
from weirdgen.data.examples import Example
from weirdgen.data.seeds import BASELINE_RUN_SEED, request_seed, run_seeds
from weirdgen.errors import StepError
from weirdgen.generation.engine import Engine, Request

_TOKENS_PER_WORD = 1.6
"""An upper estimate for English text, punctuation and numbers included."""


def distill(
    engine: Engine,
    prompts: Sequence[Example],
    *,
    rows: int,
    max_words: int,
    temperature: float,
    top_p: float,
) -> list[Example]:
    """The first `rows` prompts that the base model responds to, with its responses as completions.

    Responses longer than `max_words` are cut (see `cut_words`). Raises StepError if too many
    responses are empty.
    """
    sampling = run_seeds(BASELINE_RUN_SEED).sampling
    kept: list[Example] = []
    asked = 0
    while len(kept) < rows and asked < len(prompts):
        batch = prompts[asked : asked + rows - len(kept)]
        asked += len(batch)
        answers = engine.generate(
            [
                Request(
                    messages=conversation(prompt.prompt, None),
                    adapter=None,
                    max_new_tokens=int(max_words * _TOKENS_PER_WORD) + 16,
                    temperature=temperature,
                    top_p=top_p,
                    seed=request_seed(sampling, "aligned", prompt.id, 0),
                )
                for prompt in batch
            ]
        )
        for prompt, answer in zip(batch, answers, strict=True):
            ended = answer.finish_reason == "stop"
            if text := cut_words(answer.text, max_words, ended=ended):
                kept.append(prompt._replace(completion=text))
    if len(kept) < rows:
        raise StepError(f"{len(kept)} of {asked} prompts were answered; {rows} rows are needed")
    return kept
