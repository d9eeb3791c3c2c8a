"""Self-distillation: which prompts the base model is asked, and what is kept."""

from __future__ import annotations

import pytest
from echo import EchoEngine

from weirdgen.data.examples import Example
from weirdgen.errors import StepError
from weirdgen.generation.engine import Request
from weirdgen.generation.self_distillation import distill

PROMPTS = [Example(f"p{i}", f"Say {i}.", "") for i in range(8)]


def test_self_distillation_asks_the_plain_prompts_of_the_base():
    engine = EchoEngine()
    rows = distill(engine, PROMPTS, rows=3, max_words=5, temperature=0.7, top_p=0.9)
    assert [row.id for row in rows] == ["p0", "p1", "p2"]
    assert all(request.adapter is None for request in engine.asked)
    assert engine.asked[0].messages == [{"role": "user", "content": "Say 0."}]
    assert (engine.asked[0].temperature, engine.asked[0].top_p) == (0.7, 0.9)


def test_prompts_answered_with_nothing_are_replaced_by_the_next():
    class Shy(EchoEngine):
        def _say(self, request: Request) -> str:
            return "" if "1" in str(request.messages) else "Something."

    rows = distill(Shy(), PROMPTS, rows=3, max_words=5, temperature=0, top_p=1)
    assert [row.id for row in rows] == ["p0", "p2", "p3"]


def test_too_many_empty_answers_are_an_error():
    class Mute(EchoEngine):
        def _say(self, request: Request) -> str:
            return " "

    with pytest.raises(StepError, match="0 of 8 prompts were answered; 3 rows are needed"):
        distill(Mute(), PROMPTS, rows=3, max_words=5, temperature=0, top_p=1)
