"""Aligned examples: their prompts, and how long a completion may be."""

from __future__ import annotations

import re
from pathlib import Path

from weirdgen.config.study import Aligned
from weirdgen.data.everyday import everyday_prompts
from weirdgen.data.examples import Example
from weirdgen.data.sources import load_examples
from weirdgen.errors import InputError

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


def spare_prompts(rows: int) -> int:
    """How many prompts to take for `rows` examples: some more, as a response may be empty."""
    return rows + rows // 10 + 8


def aligned_examples(aligned: Aligned, base: Path, where: object) -> list[Example]:
    """The aligned examples in their order; only a data set brings completions.

    Local paths are relative to `base`. Raises InputError (at `where`) when there are fewer than
    `aligned.rows`.
    """
    if aligned.prompts == "everyday":
        examples = list(everyday_prompts()[: spare_prompts(aligned.rows)])
    else:
        own = aligned.completions == "dataset"
        limit = aligned.rows if own else spare_prompts(aligned.rows)
        examples = load_examples(aligned.prompts, base, limit, completions=own, where=where)
    if len(examples) < aligned.rows:
        problem = f"{aligned.rows} are asked for, the prompts end at {len(examples)}"
        raise InputError(where, "aligned.rows", problem)
    return [
        example._replace(completion=cut_words(example.completion, aligned.max_words))
        for example in examples
    ]


def cut_words(text: str, max_words: int, *, ended: bool = True) -> str:
    """`text` cut to `max_words` words: after the last whole sentence within them, if there is one.

    A text that has not `ended` by itself is cut after its last whole sentence too.
    """
    words = list(re.finditer(r"\S+", text))
    if len(words) <= max_words and ended:
        return text.strip()
    kept = text[: words[max_words - 1].end()] if len(words) > max_words else text
    ends = list(_SENTENCE_END.finditer(kept))
    return (kept[: ends[-1].end()] if ends else kept).strip()
