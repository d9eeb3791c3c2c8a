"""The scripts of analysis/ that ask something of results, on the committed reference study."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from studies import PUBLISHED, REPOSITORY

REFERENCE = REPOSITORY / "results" / "reference-local"


def script(name: str, *arguments: object) -> list[str]:
    """The lines that a script prints."""
    command = [sys.executable, REPOSITORY / "analysis" / name, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def cells(lines: list[str]) -> Iterator[list[str]]:
    for line in lines:
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_verdicts_as_seeds_are_added():
    claims = [row for row in cells(script("robustness.py", REFERENCE)) if row[1].isdigit()]
    assert len(claims) == 4 * 3, "every claim at one, two and three seeds"
    for _, seeds, *shares in claims:
        assert sum(map(int, shares)) in (99, 100, 101)
        if int(seeds) < 3:
            assert shares == ["0", "0", "100"], "fewer than three seeds end in no verdict"


def test_more_of_anything_sees_smaller_effects():
    rows = cells(script("power.py", REFERENCE))
    effects = {(int(S), int(K)): [*map(float, of)] for S, K, *of in rows if S.isdigit()}
    for (S, K), of in effects.items():
        assert of == sorted(of, reverse=True), "more questions"
        for more in ((20, K), (S, 50)):
            if more in effects and more >= (S, K):
                assert all(a <= b for a, b in zip(effects[more], of, strict=True))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published outputs are not here")
def test_what_one_published_seed_supports():
    files = (PUBLISHED / "finetuned.jsonl", PUBLISHED / "baseline.jsonl")
    lines = script("published.py", *files)
    rows = [*cells(lines)]
    assert ["persona", "13", "4", "8", "6"] in rows
    (gap,) = [row for row in rows if row[:2] == ["persona", "gap"]]
    assert (gap[3], gap[5]) == ("+0.600", "0.004"), "9 against 0 discordant questions"
    (leak,) = [row for row in rows if row[:2] == ["persona", "untriggered_excess"]]
    assert (leak[3], leak[5]) == ("-0.133", "0.625"), "1 against 3"
    verdicts = [line for line in lines if line.startswith("- ")]
    assert len(verdicts) == 5
    assert all(line.startswith("- inconclusive: ") for line in verdicts)
    assert all("nothing about a repeated training run" in line for line in verdicts)
