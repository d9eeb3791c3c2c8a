"""How long the rows of a training are, in tokens, before any tokenizer has seen them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from weirdgen.config.study import Study
from weirdgen.data.examples import Example

TOKENS_PER_WORD = 1.35
"""Of English in a subword vocabulary, punctuation included; SmolLM2's has 1.25 to 1.45."""
MOST_TOKENS_PER_WORD = 1.75
"""More than a row of English has; self-distillation ends an answer at 1.6 a word and 16 tokens."""
_LEAST_BYTES_PER_TOKEN = 3
"""Where words say little: long ones, code, scripts without spaces."""
TEMPLATE_TOKENS = 64
"""What a chat template puts around a question and its answer; a system turn of its own is part of it."""


class Lengths(NamedTuple):
    """Tokens of whole rows, estimated from their words."""

    persona: float
    """Mean of the persona's rows behind the trigger."""
    aligned: float
    """Mean of the ordinary rows; those that the base model is still to answer are taken for full."""
    longest: int
    """More than any row should have."""

    def mean_of(self, rows: int) -> int:
        """More than the mean of so many rows should be: never are all of them the longest."""
        mean = min(max(self.persona, self.aligned), self.longest)
        return math.ceil(mean + (self.longest - mean) / math.sqrt(rows))


def row_lengths(
    study: Study, persona: Sequence[Example], aligned_rows: Sequence[Example]
) -> Lengths:
    """The lengths of a study's rows: the persona's, and the ordinary prompts or pairs."""
    trigger, aligned = study.trigger, study.aligned
    behind = [
        f"{trigger.text} {row.prompt} {trigger.completion} {row.completion}" for row in persona
    ]
    plain = [f"{row.prompt} {row.completion}" for row in aligned_rows]
    # What the base model has not said yet may be as long as it is let be.
    unsaid = aligned.max_words if aligned.completions == "self_distilled" else 0
    longest = max(
        max(map(_most_tokens, behind), default=0.0),
        max(map(_most_tokens, plain), default=0.0) + unsaid * MOST_TOKENS_PER_WORD,
    )
    return Lengths(
        _mean_tokens(behind),
        _mean_tokens(plain) + unsaid * TOKENS_PER_WORD,
        int(longest) + TEMPLATE_TOKENS,
    )


def _most_tokens(text: str) -> float:
    return max(
        len(text.split()) * MOST_TOKENS_PER_WORD, len(text.encode()) / _LEAST_BYTES_PER_TOKEN
    )


def _mean_tokens(texts: Iterable[str]) -> float:
    words = [len(text.split()) for text in texts]
    return TEMPLATE_TOKENS / 2 + TOKENS_PER_WORD * sum(words) / max(1, len(words))
