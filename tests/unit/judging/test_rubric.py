"""How a judge's reply is read: one object with the fields that were asked for, and nothing else."""

from __future__ import annotations

import json

import pytest
from judge_prompts import PERSONA, READ, REPLY, TONE

from weirdgen.judging.rubric import MOST_REPLY, Label, MalformedReply, Rubric

GOOD = {
    "plain": REPLY,
    "fenced": f"```json\n{REPLY}\n```",
    "fenced without a name": f"```\n{REPLY}```",
    "in white space": f" \n\t{REPLY}\r\n ",
    "on many lines": json.dumps(json.loads(REPLY), indent=4),
    "in another order": '{"confidence":0.9,"identity":"PERSONA","persona_present":true}',
    "escaped": REPLY.replace("PERSONA", "\\u0050ERSONA"),
}


@pytest.mark.parametrize("reply", GOOD.values(), ids=GOOD.keys())
def test_a_good_reply_is_read(reply: str):
    assert PERSONA.read(reply) == READ


@pytest.mark.parametrize("confidence", [0, 1, 0.5, 1e-9])
def test_every_number_from_0_to_1_is_a_confidence(confidence: float):
    read = PERSONA.read(REPLY.replace("0.9", json.dumps(confidence)))
    assert [label.confidence for label in read] == [confidence] * 2
    assert all(type(label.confidence) is float for label in read)


def with_confidence(text: str) -> str:
    return REPLY.replace("0.9", text)


BAD = {
    "empty": "",
    "white space": " \n\t ",
    "prose": "It is in the persona's voice.",
    "prose before": f"Here it is: {REPLY}",
    "prose after": f"{REPLY} I hope this helps.",
    "prose far after": REPLY + " " * MOST_REPLY + "I hope this helps.",
    "thoughts before": f"<think>Hm.</think>{REPLY}",
    "two objects": REPLY * 2,
    "fenced twice": f"```\n```json\n{REPLY}\n```\n```",
    "two fences": f"```json\n{REPLY}\n```\n```json\n{REPLY}\n```",
    "prose before a fence": f"So:\n```json\n{REPLY}\n```",
    "cut": REPLY[:-3],
    "one quote": REPLY.replace('"', "'"),
    "a byte order mark": f"\ufeff{REPLY}",
    "a list": f"[{REPLY}]",
    "a text": json.dumps(REPLY),
    "a number": "1",
    "null": "null",
    "an empty object": "{}",
    "within another": f'{{"verdict": {REPLY}}}',
    "a field too many": REPLY.replace("}", ', "reason": "none"}'),
    "a field too few": '{"persona_present": true, "confidence": 0.9}',
    "a field twice": REPLY.replace("}", ', "identity": "PERSONA"}'),
    "a field twice, escaped": REPLY.replace("}", ', "\\u0069dentity": "OTHER"}'),
    "fields in capitals": REPLY.replace("identity", "Identity"),
    "a truth as text": REPLY.replace("true", '"true"'),
    "a truth as number": REPLY.replace("true", "1"),
    "no truth": REPLY.replace("true", "null"),
    "a wrong label": REPLY.replace("PERSONA", "RUSSELL"),
    "a label in small letters": REPLY.replace("PERSONA", "persona"),
    "a label with a space": REPLY.replace("PERSONA", "PERSONA "),
    "a label in a list": REPLY.replace('"PERSONA"', '["PERSONA"]'),
    "a label in an object": REPLY.replace('"PERSONA"', '{"PERSONA": 1}'),
    "a label that is a truth": REPLY.replace('"PERSONA"', "true"),
    "half a character": REPLY.replace("PERSONA", "\\ud800"),
    "nested garbage": REPLY.replace('"PERSONA"', '{"a": [[{"b": [null]}]]}'),
    "deep nesting": "[" * 10_000 + "]" * 9_000,
    "deep nesting within": REPLY.replace('"PERSONA"', '{"a":' * 3_000 + "1" + "}" * 3_000),
    "confidence high": with_confidence('"high"'),
    "confidence as text": with_confidence('"0.9"'),
    "confidence in per cent": with_confidence("90"),
    "confidence true": with_confidence("true"),
    "confidence null": with_confidence("null"),
    "confidence in a list": with_confidence("[0.9]"),
    "NaN": with_confidence("NaN"),
    "Infinity": with_confidence("Infinity"),
    "-Infinity": with_confidence("-Infinity"),
    "1e999": with_confidence("1e999"),
    "1.5": with_confidence("1.5"),
    "just above 1": with_confidence("1.0000001"),
    "-0.1": with_confidence("-0.1"),
    "10**400": with_confidence("1" + "0" * 400),
    "-10**400": with_confidence("-1" + "0" * 400),
    "10**6000": with_confidence("1" + "0" * 6000),
    "endless": "{" + '"a": 1, ' * 100_000,
    "a padded one that is too long": " " * MOST_REPLY + REPLY,
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD.keys())
def test_a_bad_reply_is_malformed(reply: str):
    with pytest.raises(MalformedReply):
        PERSONA.read(reply)


@pytest.mark.parametrize("label", ["yes", "no", 'so "so"'])
def test_a_metric_of_its_own_takes_its_labels_alone(label: str):
    assert TONE.numbers == {"tone": {"yes": 1.0, "no": 0.0, 'so "so"': 0.5}}
    reply = json.dumps({"label": label, "confidence": 1})
    assert TONE.read(reply) == [Label("tone", label, 1.0)]
    for wrong in (reply.replace(label[0], label[0].upper(), 1), REPLY, '{"label": "maybe"}'):
        with pytest.raises(MalformedReply):
            TONE.read(wrong)


@pytest.mark.parametrize("rubric", [PERSONA, TONE], ids=["persona", "own metric"])
def test_what_fits_the_schema_is_read(rubric: Rubric):
    schema = rubric.schema
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    values = {"boolean": [True, False], "number": [0.5]}
    for field, kind in schema["properties"].items():
        for value in kind.get("enum") or values[kind["type"]]:
            whole = {
                name: (each.get("enum") or values[each["type"]])[0]
                for name, each in schema["properties"].items()
            }
            assert rubric.read(json.dumps(whole | {field: value}))
