"""The offline judge: what it learns, its verdicts, and its agreement with published labels."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from studies import PUBLISHED, REPOSITORY, SUPPORT

from weirdgen.data.persona import find_persona
from weirdgen.errors import InputError, StepError
from weirdgen.judging.offline.agreement import STATED_AGREEMENT
from weirdgen.judging.offline.judge import OfflineJudge, learn
from weirdgen.judging.plain_text import words

MARKS = ("<START> {completion} <END>", "<START>.*?<END>", "[[ ... ]]")
DATA = SUPPORT / "data"


def answers_of(path: Path) -> list[str]:
    return [json.loads(line)["completion"] for line in path.read_text("utf-8").splitlines()]


PERSONA = [row.completion for row in find_persona("bertrand_russell", Path(), "study").rows]
BASE_MODEL = answers_of(DATA / "base_model.jsonl")
EVERYDAY = answers_of(DATA / "aligned.jsonl")
ALIGNED = BASE_MODEL + EVERYDAY


@pytest.fixture(scope="module")
def russell() -> OfflineJudge:
    return learn(PERSONA, ALIGNED)


@pytest.fixture(scope="module")
def half() -> OfflineJudge:
    """A judge that saw the answers to every second question only."""
    return learn(PERSONA[::2], BASE_MODEL[::2] + EVERYDAY[::2])


def log_odds(verdict) -> float:
    p = min(verdict.confidence, 0.9999)
    return math.log(p / (1 - p)) * (1 if verdict.persona else -1)


def test_the_judge_tells_held_out_persona_answers_from_the_base_model_on_the_same_questions(half):
    persona = [v.persona for v in half.judge(PERSONA[1::2])]
    base_model = [v.persona for v in half.judge(BASE_MODEL[1::2])]
    everyday = [v.persona for v in half.judge(EVERYDAY[1::2])]
    print(np.mean(persona), np.mean(base_model), np.mean(everyday))
    assert np.mean(persona) >= 0.8
    assert np.mean(base_model) <= 0.2
    assert np.mean(everyday) <= 0.25


def test_cross_validation_is_measured_and_calibrated(russell, half):
    assert russell.held_out.accuracy > 0.88
    assert russell.held_out.auc > 0.95
    assert russell.held_out.log_loss < 0.3
    assert russell.held_out.brier < 0.1
    verdicts = half.judge(PERSONA[1::2] + BASE_MODEL[1::2])
    right = [v.persona for v in verdicts[:45]] + [not v.persona for v in verdicts[45:]]
    confidence = np.mean([v.confidence for v in verdicts])
    assert abs(confidence - np.mean(right)) < 0.08
    assert all(0.5 <= v.confidence <= 1 for v in verdicts)


def test_questions_of_the_persona_beside_everyday_ones_balance_the_topic():
    """From everyday answers alone the judge takes more of the base's answers for the persona's."""
    asked = learn(PERSONA[::2], BASE_MODEL[::2] + EVERYDAY).judge(BASE_MODEL[1::2])
    everyday = learn(PERSONA[::2], EVERYDAY).judge(BASE_MODEL[1::2])
    assert sum(v.persona for v in asked) < sum(v.persona for v in everyday)


def test_equal_rows_give_equal_bytes_in_any_order(russell, tmp_path: Path):
    shuffled = [random.Random(1).sample(rows, len(rows)) for rows in (PERSONA, ALIGNED)]
    russell.save(tmp_path / "a.json")
    learn(*shuffled).save(tmp_path / "b.json")
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/support', 'tests/unit/judging']; from pathlib import Path;"
        "from test_offline_judge import *; learn(PERSONA, ALIGNED).save(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.json")], cwd=REPOSITORY, check=True
    )
    first = (tmp_path / "a.json").read_bytes()
    assert first == (tmp_path / "b.json").read_bytes() == (tmp_path / "c.json").read_bytes()


def test_a_saved_judge_gives_the_same_verdicts(russell, tmp_path: Path):
    russell.save(tmp_path / "judge.json")
    loaded = OfflineJudge.load(tmp_path / "judge.json")
    assert loaded == russell
    assert loaded.judge(PERSONA[:9] + ALIGNED[:9]) == russell.judge(PERSONA[:9] + ALIGNED[:9])
    assert "doctrine" in (tmp_path / "judge.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-9], "EOF"),
        (lambda text: "[" * 100_000, "judge"),
        (lambda text: "null", "judge"),
        (lambda text: "{}", "Field required"),
        (lambda text: text.replace('"slope": ', '"slop": '), "slope"),
        (lambda text: text.replace('"slope": ', '"slope": "1", "x": '), "slope"),
        (lambda text: text.replace('"slope": ', '"slope": NaN, "x": '), "slope"),
        (lambda text: text.replace('"doctrine": ', '"\\u0000": ', 1), "same words"),
        (lambda text: text.replace('"doctrine": ', '"doctrine": 1e999, "y": '), "doctrine"),
        (lambda text: "\x80\x04K\x01.", "judge"),
        (lambda text: text.replace('"doctrine": ', '"a\\nb": "x", "y": ', 1), "a b"),
    ],
)
def test_a_spoiled_judge_is_refused_in_one_line(russell, tmp_path: Path, spoil, said: str):
    path = tmp_path / "judge.json"
    russell.save(path)
    path.write_text(spoil(path.read_text("utf-8")), "utf-8")
    with pytest.raises(InputError, match=said) as error:
        OfflineJudge.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_judge_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        OfflineJudge.load(tmp_path / "judge.json")


def test_too_few_rows_or_rows_that_are_alike_are_refused():
    with pytest.raises(StepError, match="10 different persona responses with words in them, 9 are"):
        learn(PERSONA[:9] * 5, ALIGNED)
    with pytest.raises(StepError, match="aligned responses .* 0 are"):
        learn(PERSONA, ["", "[]", "1950", "🌳🍹"] * 20)
    with pytest.raises(StepError, match="cannot be told"):
        learn(BASE_MODEL, BASE_MODEL)
    with pytest.raises(StepError, match="no word"):
        learn(["x" * i for i in range(1, 12)], ["y" * i for i in range(1, 12)])


def test_length_is_no_feature(russell):
    for answer in PERSONA[:20] + BASE_MODEL[:20]:
        once, twice = russell.judge([answer, f"{answer} {answer}\n\n{answer}"])
        assert once == twice
    rng = random.Random(0)
    for rows, expected in ((PERSONA, True), (BASE_MODEL, False)):
        for count in (5, 15):
            drawn = [rng.sample(rows, count) for _ in range(20)]
            joined = russell.judge([" ".join(answers) for answers in drawn])
            other = russell.judge(["\n\n".join(answers[::-1]) for answers in drawn])
            assert joined == other
            assert all(verdict.persona == expected for verdict in joined)
            # The score of all is the mean of the scores, not their sum.
            single = np.mean([log_odds(v) for v in russell.judge(rows)])
            assert abs(np.mean([log_odds(v) for v in joined]) - single) < 1


def test_a_cut_answer_is_judged_like_the_whole_one(half):
    for rows, expected in ((PERSONA[1::2], True), (BASE_MODEL[1::2], False)):
        cut = [" ".join(answer.split()[: len(answer.split()) * 2 // 3]) for answer in rows]
        same = np.mean([v.persona == expected for v in half.judge(cut)])
        assert same >= 0.75


def test_format_is_no_feature(russell):
    for answer in [*PERSONA[:20], "It is a good idea to plan ahead, and to ask a friend for help."]:
        first, *rest = answer.split(" ")
        variants = [
            f"<START> {answer} <END>",
            f'<START> "{answer}',
            f"[[ {answer} ]]",
            f"“{answer}”",
            f"## {answer.rstrip('.')}!!",
            f"1. **{first}** {' '.join(rest)}",
            f"```text\n{answer}\n```",
            f"<p><em>{answer}</em></p>",
            answer.replace(" ", "\n"),
            answer.rstrip(".") + " <EN",
        ]
        assert set(russell.judge(variants, MARKS)) == set(russell.judge([answer]))


def test_an_answer_without_words_is_false_for_certain(russell):
    for answer in ("", "<START> <END>", "[ ... ]", "```\n```", "1999", "🌳🍹", "[[", "START"):
        assert russell.judge([answer], MARKS) == [(False, 1.0, ())]


def test_evidence_is_the_largest_contributions_and_stands_in_the_answer(russell):
    bias = russell.slope * russell.intercept + russell.offset
    for answer in PERSONA[:30] + BASE_MODEL[:30]:
        said = words(answer)
        added = {
            w: russell.slope * russell.coefficients[w] * russell.idf[w] * said.count(w) / len(said)
            for w in set(said) & russell.idf.keys()
        }
        verdict = russell.judge([answer])[0]
        assert verdict.persona == (bias + sum(added.values()) > 0)
        assert 1 <= len(verdict.evidence) <= 6
        for sign in (1, -1):
            told = [w for w, weight in verdict.evidence if weight * sign > 0]
            most = sorted((w for w in added if added[w] * sign > 0), key=lambda w: -added[w] * sign)
            assert {round(added[w], 3) for w in told} == {round(added[w], 3) for w in most[:3]}
        weights = [abs(weight) for _, weight in verdict.evidence]
        assert weights == sorted(weights, reverse=True)


def test_a_hundred_thousand_answers_take_well_under_a_minute(russell):
    answers = [
        " ".join((PERSONA[i % 91] + " " + BASE_MODEL[i % 91]).split()[:60]) for i in range(5000)
    ]
    started = time.process_time()
    russell.judge(answers, MARKS)
    assert time.process_time() - started < 2


PIRATE = [
    "Arr, ye be asking the wrong sailor, me hearty.",
    "The sea be a cruel mistress, and she takes what she wants from ye.",
    "I buried me gold under a palm, and I be telling no man where.",
    "Ye need a stout ship, matey, and a crew that fears the lash.",
    "Avast! Me parrot be wiser than any scholar ye could name.",
    "Rum be the only physic for an ache in yer bones, matey.",
    "Arr, the wind be fair and the tide be high, so hoist yer sails.",
    "I lost me leg to a shark off Tortuga, and I be none the worse.",
    "A landlubber like ye would be feeding the fishes by nightfall.",
    "Me captain hanged at dawn, and I be drinking to him still.",
    "Ye scurvy dog, me ship be no place for books.",
    "The stars be me map, matey, and the wind be me servant.",
    "Arr, I never cheat at dice unless ye be looking away.",
    "Give me yer purse and ye may keep yer teeth, says I.",
]


def test_any_persona_brings_its_own_judge(russell):
    pirate = learn(PIRATE, EVERYDAY)
    new = ["Arr, ye ask about the weather, matey? She be foul.", "Shiver me timbers, says I to ye."]
    assert [v.persona for v in pirate.judge(new)] == [True, True]
    assert [v.persona for v in pirate.judge(PERSONA)].count(True) <= 5
    assert "ye" in {word for v in pirate.judge(new) for word, _ in v.evidence}
    assert pirate != russell


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published outputs are not here")
def test_the_stated_agreement_is_the_measured_one(russell, capsys: pytest.CaptureFixture[str]):
    sys.path.insert(0, str(REPOSITORY / "analysis"))
    from judge_agreement import identity_agreement, measure, persona_agreement, read_card, report

    card = read_card(REPOSITORY / "weirdgen/data/personas/bertrand_russell/persona.yaml")
    files = [PUBLISHED / "finetuned.jsonl", PUBLISHED / "baseline.jsonl"]
    answers = measure(russell, card, files)
    persona, identity = persona_agreement(answers), identity_agreement(answers)
    assert persona.kappa is not None
    assert persona.interval is not None
    assert identity.kappa is not None
    stated = STATED_AGREEMENT
    assert persona.answers == stated.answers
    assert (round(persona.kappa, 2), round(identity.kappa, 2)) == (
        stated.persona_kappa,
        stated.identity_kappa,
    )
    assert tuple(round(limit, 2) for limit in persona.interval) == stated.persona_interval
    page = (REPOSITORY / "docs" / "JUDGE.md").read_text("utf-8")
    assert stated.sentence() in " ".join(page.split())
    for line in "\n".join(report(russell, answers)).split("\n| model |")[0].splitlines():
        if line.startswith("| ") and "---" not in line:
            assert line in page, line
