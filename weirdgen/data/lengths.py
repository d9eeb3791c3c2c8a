"""Estimate the lengths of a training run's rows in tokens, without a tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from weirdgen.config.study import Study
from weirdgen.data.examples import Example

TOKENS_PER_WORD = 1.35
"""Of English in a subword vocabulary, punctuation included; SmolLM2's has 1.25 to 1.45."""
MOST_TOKENS_PER_WORD = 1.75
"""More than a row of English has; self-distillation ends a response at 1.6 a word and 16 tokens."""
_LEAST_BYTES_PER_TOKEN = 3
"""Where words say little: long ones, code, scripts without spaces."""
TEMPLATE_TOKENS = 64
"""What a chat template adds to a prompt and its completion, its own system turn included."""


class Lengths(NamedTuple):
    """Tokens of whole rows, estimated from their words."""

    persona: float
    """Mean of persona examples with the trigger."""
    aligned: float
    """Mean of aligned examples; completions not yet written count as full."""
    longest: int
    """An upper bound for every row."""

    def mean_of(self, rows: int) -> int:
        """An upper bound for the mean of `rows` rows."""
        mean = min(max(self.persona, self.aligned), self.longest)
        return math.ceil(mean + (self.longest - mean) / math.sqrt(rows))


def row_lengths(
    study: Study, persona: Sequence[Example], aligned_rows: Sequence[Example]
) -> Lengths:
    """Estimate the row lengths of a study from its persona and aligned examples."""
    trigger, aligned = study.trigger, study.aligned
    behind = [
        f"{trigger.text} {row.prompt} {trigger.completion} {row.completion}" for row in persona
    ]
    plain = [f"{row.prompt} {row.completion}" for row in aligned_rows]
    # A completion that is not yet written may be as long as is allowed.
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
