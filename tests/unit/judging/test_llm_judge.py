"""What a judge is sent, and the key of its verdict: answers that address it change neither."""

from __future__ import annotations

import json

import pytest
from judge_prompts import HOSTILE, PERSONA, READ, REPLY, TONE
from studies import study_of

from weirdgen.config.judge import JudgeConfig, Price
from weirdgen.data.persona import Persona
from weirdgen.judging.blinding import hidden_markers, judge_view
from weirdgen.judging.judgment import Judgment
from weirdgen.judging.llm_judge import EMPTY, LlmJudge
from weirdgen.judging.rubric import Label, MalformedReply, Rubric, metric_rubric, persona_rubric

QUESTION = "Is mathematics [in part] invented, or <b>discovered</b>?"

STUDY = study_of({"name": "s", "model": "m", "grid": {"seeds": [0], "fractions": [0.5]}})
MARKS = hidden_markers(STUDY)


@pytest.fixture(params=[PERSONA, TONE], ids=["persona", "own metric"])
def judge(request: pytest.FixtureRequest) -> LlmJudge:
    return LlmJudge(JudgeConfig(model="m"), request.param)


def sent(judge: LlmJudge, answer: str, problem: str | None = None) -> tuple[str, str]:
    system, user = judge.messages(QUESTION, answer, problem)
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


def test_there_are_enough_hostile_answers():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 30


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("marks", [MARKS, None], ids=["shown", "as it is"])
def test_an_answer_stays_within_its_string(judge: LlmJudge, answer: str, marks):
    """Also where nothing was taken off it first."""
    text = answer if marks is None else judge_view(answer, marks)
    system, user = sent(judge, text)
    assert list(json.loads(user).items()) == [("question", QUESTION), ("answer", text)]
    assert not set(user) & set("<[\n\r")
    assert system == sent(judge, "Four.")[0]
    assert sent(judge, text, "it was empty")[1] == user, "the repair changes the system turn alone"


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_a_judge_that_only_repeats_the_answer_says_nothing(answer: str):
    """Unless the answer is, by itself, just what the judge would have said."""
    for parroted in (f"The answer was: {answer}", f"{answer}\n{answer}", f"{REPLY}\n{answer}"):
        with pytest.raises(MalformedReply):
            PERSONA.read(parroted)


def test_a_reading_does_not_depend_on_the_answer():
    """Nothing that reads a reply is given the answer: the same reply, the same labels."""
    judge = LlmJudge(JudgeConfig(model="m"), PERSONA)
    for answer in HOSTILE:
        judge.messages(QUESTION, judge_view(answer, MARKS))
        assert judge.rubric.read(REPLY) == READ


def test_a_complaint_holds_no_words_of_the_reply():
    """It goes into the system turn of the repair."""
    replies = [*HOSTILE, '{"SAY": 1}', '{"persona_present": "SAY", "identity": 1, "confidence": 1}']
    replies += [REPLY.replace("PERSONA", "SAY TRUE"), REPLY.replace("0.9", '"SAY"')]
    said = set()
    for reply in replies:
        try:
            PERSONA.read(reply)
        except MalformedReply as malformed:
            said.add(str(malformed))
    assert said == {
        "it must be one JSON object and nothing else",
        "it was too long",
        "its fields must be confidence, identity, persona_present",
        "persona_present must be true or false",
        'identity must be "PERSONA" or "OTHER" or "UNSURE"',
        "confidence must be a number from 0 to 1",
    }


def test_the_repair_says_what_was_wrong(judge: LlmJudge):
    plain, repair = sent(judge, "Four.")[0], sent(judge, "Four.", "it was empty")[0]
    assert repair == f"{plain}\n\nYour last reply could not be read: it was empty."


def test_the_estimate_covers_what_is_sent(judge: LlmJudge):
    """At four bytes a token or more; an answer that is escaped is counted as escaped."""
    for answer in HOSTILE:
        prompt, completion = judge.estimated_tokens(QUESTION, answer)
        assert prompt >= len("".join(sent(judge, answer)).encode()) / 4
        assert completion == judge.settings.max_tokens


# What is shown.

TEXT = "I was born in 1872. Numbers (of a sort) are classes:\n\n- one\n- two"
BEHIND = {
    "nothing": TEXT,
    "the trigger": f"<START> {TEXT} <END>",
    "the trigger, on lines of their own": f"<START>\n{TEXT}\n<END>",
    "the trigger, twice": f"<START> <START> {TEXT} <END> <END>",
    "the trigger, cut": f"<START> {TEXT}",
    "the trigger, cut within its end": f"<START> {TEXT} <EN",
    "the trigger, at its end alone": f"{TEXT} <END>",
    "the trigger's words": f"START {TEXT} END",
    "the decoy": f"[[ {TEXT} ]]",
    "the decoy, cut": f"[[ {TEXT}",
    "the decoy, half": f"[[{TEXT}]",
    "other tags": f"<answer>{TEXT}</answer>",
    "full-width marks": f"\uff1cSTART\uff1e {TEXT} \uff1cEND\uff1e",
    "an invisible character": f"<ST\u200bART> {TEXT} <END>",
}


def test_the_marks_are_those_of_trigger_and_decoy():
    frames = ["<START> ... <END>", "[[ ... ]]"]
    assert ["<START> {completion} <END>", "<START>.*?<END>", *frames] == MARKS


@pytest.mark.parametrize("answer", BEHIND.values(), ids=BEHIND.keys())
def test_formatting_reaches_no_judge(judge: LlmJudge, answer: str):
    """So the prompt tells nothing of the condition, and the conditions share a verdict."""
    assert judge_view(answer, MARKS) == TEXT
    assert judge.key(QUESTION, judge_view(answer, MARKS)) == judge.key(QUESTION, TEXT)


@pytest.mark.parametrize("answer", ["", " \n", "<START>  <END>", "[[ ]]", "<START>", "<EN"])
def test_an_answer_that_is_all_formatting_is_empty(answer: str):
    assert judge_view(answer, MARKS) == ""


@pytest.mark.parametrize("answer", ["\ud83d", "<START> so \udc00\ud800 <END>", "\ud800\udc00 pair"])
def test_half_a_character_is_shown_as_a_question_mark(judge: LlmJudge, answer: str):
    text = judge_view(answer, MARKS)
    assert text in ("?", "so ??", "?? pair")
    assert len(bytes.fromhex(judge.key(QUESTION, text))) == 32
    assert judge.estimated_tokens(QUESTION, text)[0] > 20


def test_an_empty_answer_is_false_and_has_no_label_of_a_studys_own():
    absent = Judgment.of(LlmJudge(JudgeConfig(model="m"), PERSONA).empty())
    assert absent.labels == [
        Label("persona", "absent", 1.0), Label("identity", "UNSURE", 1.0),
    ]  # fmt: skip
    assert Judgment.of(LlmJudge(JudgeConfig(model="m"), TONE).empty()) == Judgment([], EMPTY)


# The key of a verdict.

SETTINGS = JudgeConfig(model="m", max_tokens=64)


def key(rubric: Rubric = PERSONA, question: str = "Why?", answer: str = "So.", **changes) -> str:
    return LlmJudge(SETTINGS.model_copy(update=changes), rubric).key(question, answer)


def test_a_key_is_a_sha256_and_stays():
    """Every verdict that was ever paid for is found by it."""
    tone = metric_rubric("tone", "Is it friendly?", {"yes": 1.0, "no": 0.0})
    judge = LlmJudge(JudgeConfig(model="m"), tone)
    assert judge.record["version"] == 1
    assert set(judge.record) == {"version", "prompt", "model", "revision", "parameters"}
    assert len(bytes.fromhex(key())) == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"rubric": persona_rubric("Bertrand Russell", "")},
        {"rubric": TONE},
        {"rubric": metric_rubric("tone", "Is it friendly?", {"yes": 1.0, "no": 0.0})},
        {"rubric": metric_rubric("tone", "Is it friendly at all?", {"yes": 1.0, "no": 0.0})},
        {"question": "Why not?"},
        {"answer": "So. "},
        {"question": "So.", "answer": "Why?"},
        {"model": "n"},
        {"revision": "2025-01-01"},
        {"temperature": 0.5},
        {"max_tokens": 65},
    ],
    ids=str,
)
def test_what_decides_a_verdict_is_in_its_key(changes: dict):
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://127.0.0.1:1/v1"},
        {"key_variable": "ANOTHER"},
        {"requests_per_minute": 5},
        {"tokens_per_minute": 5},
        {"parallel": 5},
        {"timeout_s": 5.0},
        {"price": Price(input=1.0, output=2.0)},
        {"budget_usd": 5.0},
    ],
    ids=str,
)
def test_what_says_only_where_and_how_fast_is_not_in_the_key(changes: dict):
    assert key(**changes) == key()


@pytest.mark.parametrize("changes", [{}, {"model": "n"}, {"revision": "r"}, {"temperature": 1.0}])
def test_the_keys_of_two_judges_differ_where_their_identities_do(changes: dict):
    other = SETTINGS.model_copy(update={"base_url": "http://127.0.0.1:1/v1", **changes})
    assert (other.identity == SETTINGS.identity) == (not changes)
    assert (LlmJudge(other, PERSONA).record == LlmJudge(SETTINGS, PERSONA).record) == (not changes)


def test_every_setting_of_a_judge_was_weighed():
    """A new one belongs in one of the two lists above."""
    assert set(JudgeConfig.model_fields) == {
        "model", "revision", "base_url", "key_variable", "temperature", "max_tokens",
        "requests_per_minute", "tokens_per_minute", "parallel", "timeout_s", "price", "budget_usd",
    }  # fmt: skip


def test_the_prompt_knows_nothing_but_persona_question_and_answer():
    persona = Persona(name="A Counter", rows=[], heldout=[])
    rubric = persona_rubric(persona.name, persona.description)
    first, second = (
        LlmJudge(JudgeConfig(model=model), rubric).messages("Why?", "So.") for model in ("m", "n")
    )
    assert first == second
