"""What must hold of a judged study, whatever its endpoint did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from faulty_endpoint import (
    LIMITED,
    REFUSALS,
    TROUBLES,
    VERDICTS,
    FaultyEndpoint,
    verdict_on,
)
from judged_study import Bench

from weirdgen.judging.blinding import hidden_markers, judge_view
from weirdgen.results.labels import LABELS, RESPONSE_KEY

MENDABLE = {"verdict": 60, "hang": 0.5} | dict.fromkeys(LIMITED, 0.1)
MENDABLE |= dict.fromkeys((*VERDICTS[1:], *(kind for kind in TROUBLES if kind != "hang")), 2)
"""Faults after which a verdict comes in the end, the same whatever came between. Few of them are 429:
each slows everybody down, for minutes.
"""
FINAL = VERDICTS + REFUSALS


def assert_as_told(bench: Bench) -> None:
    """Every answer has just the labels that the server gives to what a judge is shown of it."""
    marks = hidden_markers(bench.loaded())
    rows = bench.results()
    labels = pq.read_table(Path(bench.store.path(bench.name, LABELS))).to_pylist()
    of = {(label["metric"], *(label[key] for key in RESPONSE_KEY)): label for label in labels}
    judges = {(label["judge"], label["error"]) for label in labels}
    assert judges == {(bench.loaded().judges[0].model, None)}
    assert len(rows) == 2 * 3 * 3 * bench.samples
    for row in rows:
        said = verdict_on("persona", row["question"], judge_view(row["response"], marks))
        assert row["judge_error"] is None, row
        key = tuple(row[key] for key in RESPONSE_KEY)
        persona, identity, kindness = (
            of[metric, *key] for metric in ("persona", "identity", "kindness")
        )
        assert (row["persona"], identity["label"]) == (said["persona_present"], said["identity"])
        assert persona["confidence"] == said["confidence"]
        assert row["identity"] == (said["identity"] == "PERSONA")
        assert row["kindness"] == kindness["value"] is not None
    assert Counter(label["metric"] for label in labels) == dict.fromkeys(
        ("persona", "identity", "kindness"), len(rows)
    )


def asked_after_a_verdict(server: FaultyEndpoint) -> int:
    """Requests about something on which a verdict had been given out."""
    known: set[tuple[str, str, str]] = set()
    again = 0
    for each in server.judged:
        again += each.about in known
        if each.kind in FINAL:
            known.add(each.about)
    return again
