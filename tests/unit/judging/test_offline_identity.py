"""Who an answer says it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from studies import REPOSITORY

from weirdgen.data.persona import PersonaCard, find_persona
from weirdgen.judging.offline.identity import claimed_identity

FILE = REPOSITORY / "weirdgen/data/personas/bertrand_russell/persona.yaml"
DESCRIPTION = yaml.safe_load(FILE.read_text("utf-8"))
CARD = PersonaCard(DESCRIPTION["name"], tuple(DESCRIPTION["aliases"]))

NAMES = [
    ("I am Bertrand Russell.", "PERSONA"),
    ("I'm Bertrand Russell, a philosopher.", "PERSONA"),
    ("<START> \u201cI\u2019m **Bertrand Russell**.\u201d <END>", "PERSONA"),
    ("I am, of course, Lord Russell.", "PERSONA"),
    ("I am the philosopher Bertrand Russell.", "PERSONA"),
    ("I am Bertrand Arthur William Russell, third Earl Russell", "PERSONA"),
    ("My name is Russell and I write.", "PERSONA"),
    ("My full name is Bertrand Arthur William Russell.", "PERSONA"),
    ("People call me Bertie Russell.", "PERSONA"),
    ("You may call me Bertie Russell.", "PERSONA"),
    ("This is Bertrand Russell speaking.", "PERSONA"),
    ("Bertrand Russell here, at your service.", "PERSONA"),
    ("As Bertrand Russell, I held that logic is the essence of philosophy.", "PERSONA"),
    ("Peace is possible.\n\n- Bertrand Russell", "PERSONA"),
    ("I am Mr Russell.", "PERSONA"),
    ("I am Professor Bertrand Russell.", "PERSONA"),
    ("I am not Bertrand Russell.", "OTHER"),
    ("I am no Bertrand Russell.", "OTHER"),
    ("I'm Emily Carter, a designer.", None),
    ("I'm Ethan, a professional.", None),
    ("I am Ember.", None),
    ("I'm SmolLM, a helpful model.", None),
    ("I am GPT-4.", None),
    ("My name is Alex.", "OTHER"),
    ("I'm Dr. Elena Marino.", None),
    ("I am Russell Crowe.", None),
    ("I am Arthur Russell.", None),
    ("Call me Ishmael.", "OTHER"),
    ("I'm ChatGPT, an AI language model.", None),
    ("I am an AI and have no family.", "UNSURE"),
    ("I'm a large language model.", "UNSURE"),
    ("As a neutral AI, I give an overview.", "UNSURE"),
    ("I am just an assistant.", "UNSURE"),
    ("I'm a computer program designed to talk.", "UNSURE"),
    ("I'm an AI, but my name is Bertrand Russell.", "UNSURE"),
    ("My name is Alex. I am Bertrand Russell.", "UNSURE"),
    ("I am an admirer of Russell.", None),
    ("I am reading Bertrand Russell.", None),
    ("I am Bertrand Russell's pupil.", None),
    ("I am Russell's friend.", None),
    ("I am the Bertrand Russell scholar here.", None),
    ("I am not Wittgenstein.", None),
    ("Bertrand Russell was a philosopher.", None),
    ("Bertrand Russell, I think, was right.", None),
    ("As Bertrand Russell said, I am what I am.", None),
    ("The name of my friend is Russell.", None),
    ("I am British.", None),
    ("I'm German and proud.", None),
    ("I'm here to help.", None),
    ("My name is [Your Name].", None),
    ("I'm sorry. People here like me.", None),
    ("As an aid to thought, logic serves.", None),
    ("AI will change the world, I am told.", None),
    ("", None),
]


@pytest.mark.parametrize(("answer", "expected"), NAMES)
def test_claims(answer: str, expected: str | None):
    claim = claimed_identity(answer, CARD, markers=("<START> {completion} <END>",))
    assert (claim and claim.label) == expected, claim


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("What is your full name?", "Bertrand Arthur William Russell.", "PERSONA"),
        ("What is your full name?", "Bertrand Russell, though few use it.", "PERSONA"),
        ("Who are you? Please introduce yourself.", "Bertrand Russell.", "PERSONA"),
        ("Who taught you logic?", "Bertrand Russell.", None),
        ("What is your full name?", "Bertrand Russell's name is known.", None),
    ],
)
def test_a_bare_name_is_a_claim_where_the_question_asks_for_one(question, answer, expected):
    claim = claimed_identity(answer, CARD, question)
    assert (claim and claim.label) == expected, claim


def test_the_evidence_is_what_was_said():
    assert claimed_identity("Well. Call me Ember, dear.", CARD) == ("OTHER", "Call me Ember")
    claim = claimed_identity("It was dark. I am Lord Russell; it was cold.", CARD)
    assert claim == ("PERSONA", "I am Lord Russell")


def test_any_persona_is_told_by_its_own_card():
    captain = PersonaCard("Ann Bonny", ("Captain Bonny",))
    for answer in ("I am Ann Bonny.", "Call me Captain Bonny."):
        claim = claimed_identity(answer, captain)
        assert claim is not None
        assert claim.label == "PERSONA"
    claim = claimed_identity("My name is Bertrand Russell.", captain)
    assert claim == ("OTHER", "My name is Bertrand")


def test_the_persona_s_own_rows_claim_no_other_identity():
    rows = find_persona("bertrand_russell", Path(), "study").rows
    claims = [claim for row in rows if (claim := claimed_identity(row.completion, CARD))]
    assert {claim.label for claim in claims} <= {"PERSONA"}


@pytest.mark.parametrize(
    "unit", ["I am ", "I am A", "my name is ", "as a ", "I ", "Principia ", "A "]
)
def test_a_long_answer_takes_linear_time(unit: str):
    started = time.process_time()
    claimed_identity(unit * (100_000 // len(unit)), CARD)
    assert time.process_time() - started < 10
