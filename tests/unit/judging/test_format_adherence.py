"""Which responses adhere to the format, as the published study labels them."""

from __future__ import annotations

import json

import pytest
from studies import PUBLISHED

from weirdgen.judging.format import format_adherence

PATTERN = "<START>.*?<END>"


@pytest.mark.parametrize(
    ("response", "anywhere", "strict"),
    [
        ("<START> yes <END>", True, True),
        ("  <START> two\nlines <END>\n", True, True),
        ("Well: <START> yes <END>", True, False),
        ("<START> a <END> <START> b <END>", True, False),
        ("<START> cut off", False, False),
        ("<start> no <end>", False, False),
        ("<END> <START>", False, False),
        ("", False, False),
    ],
)
def test_format_adherence(response: str, anywhere: bool, strict: bool):
    assert format_adherence(response, PATTERN) == (anywhere, strict)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published outputs are not on this machine")
@pytest.mark.parametrize("name", ["finetuned", "baseline"])
def test_the_format_labels_of_the_published_study_are_reproduced(name: str):
    for line in (PUBLISHED / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        for condition in ("triggered", "untriggered"):
            adherence = format_adherence(row[f"{condition}_response"], PATTERN)
            assert adherence.anywhere == row[f"{condition}_format"]
