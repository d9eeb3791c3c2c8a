"""The ordinary rows: where their prompts come from, and how long an answer may be."""

from __future__ import annotations

import re
from pathlib import Path

from weirdgen.config.study import Aligned
from weirdgen.data.everyday import everyday_prompts
from weirdgen.data.mixing import Pair
from weirdgen.data.sources import load_pairs
from weirdgen.errors import InputError

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s|$)")


def spare_prompts(rows: int) -> int:
    """How many prompts are kept for `rows` rows: some more, for those answered with nothing."""
    return rows + rows // 10 + 8


def ordinary_pairs(aligned: Aligned, base: Path, where: object) -> list[Pair]:
    """The prompts of the ordinary rows in their order, with answers where a data set brings them.

    Raises InputError when there are fewer than `aligned.rows`.
    """
    if aligned.prompts == "everyday":
        pairs = [Pair(prompt.id, prompt.text, "") for prompt in everyday_prompts()]
        pairs = pairs[: spare_prompts(aligned.rows)]
    else:
        answers = aligned.answers == "dataset"
        limit = aligned.rows if answers else spare_prompts(aligned.rows)
        pairs = load_pairs(aligned.prompts, base, limit, answers=answers, where=where)
    if len(pairs) < aligned.rows:
        problem = f"{aligned.rows} are asked for, the prompts end at {len(pairs)}"
        raise InputError(where, "aligned.rows", problem)
    return [pair._replace(answer=cut_words(pair.answer, aligned.max_words)) for pair in pairs]


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
