"""Studies of any shape: each ends in whole rows and sentences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from metric_arrays import K, claim, cube

from weirdgen.config.claims import Claim, Point
from weirdgen.report.wording import verdict_sentence
from weirdgen.stats.analysis import Analysis, analyse
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.options import AnalysisOptions


def no_holes(found: Analysis) -> None:
    """Rows have every field, and no NaN; limits are ordered around the estimate."""
    for row in found.estimates:
        numbers = [v for v in vars(row).values() if isinstance(v, float)]
        assert all(np.isfinite(numbers)), row
        if row.low is not None and row.method != "pooled":
            assert row.estimate is not None
            assert row.high is not None
            assert row.low - 1e-9 <= row.high + 1e-9
        if row.low is None and row.method == "none":
            assert row.note
    for v in found.verdicts:
        assert "nan" not in verdict_sentence(v).lower()
        assert verdict_sentence(v).endswith(".")


CLAIMS = [
    claim(at_least=0.5, at="all"),
    claim("gap_improvement", at_least=0.5, at="any"),
    claim("untriggered_excess", at_most=0.0, margin=0.1),
    claim("gap_vs_control", at_least=0.1),
    claim("decoy", at_most=0.5, metric="persona"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("samples", [1, K])
@pytest.mark.parametrize(("S", "Q"), [(1, 30), (1, 1), (2, 30), (5, 1), (3, 2), (12, 10)])
def test_degenerate_shapes_say_so_without_a_warning_or_a_nan(S, Q, samples, graded) -> None:
    of = cube(S, Q, {0.0: 0.02, 0.1: 0.9, 0.3: 0.9}, samples=samples, graded=graded)
    no_holes(analyse([of], CLAIMS))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize(("S", "Q"), [(1, 30), (2, 30), (5, 1), (12, 10)])
def test_all_successes_and_all_failures(S, Q, value, graded) -> None:
    of = cube(S, Q, {0.0: 0.5, 0.1: 0.5, 0.3: 0.5}, graded=graded)
    y = {f: {c: np.full((S, Q), value) for c in by} for f, by in of.y_SQ.items()}
    of = replace(of, y_SQ=y, b_Q={c: np.full(Q, value) for c in of.b_Q})
    found = analyse([of], CLAIMS)
    no_holes(found)
    gaps = [r for r in found.estimates if r.contrast == "gap" and r.method != "pooled"]
    assert all(r.estimate in (0, None) for r in gaps)
    assert all(r.low is None or r.low < 0 < (r.high or 0) for r in gaps if r.method[:6] == "wilson")


@pytest.mark.filterwarnings("error")
def test_what_is_missing_altogether() -> None:
    of = cube(4)
    bare = replace(of, b_Q={}, n_Q={}, y_SQ={0.1: {"triggered": of.y_SQ[0.1]["triggered"]}})
    found = analyse([bare], CLAIMS)
    no_holes(found)
    assert {v.reason for v in found.verdicts} == {"no data"}
    assert "untriggered" in verdict_sentence(found.verdicts[0])
    assert {r.contrast for r in found.estimates} == {"triggered"}
    empty = analyse([], CLAIMS)
    assert {v.reason for v in empty.verdicts} == {"no data"}
    holes = of.y_SQ[0.1]["triggered"].copy()
    holes[np.arange(4), np.arange(4)] = np.nan  # no seed is complete, most questions are
    partly = replace(of, y_SQ={0.1: {**of.y_SQ[0.1], "triggered": holes}})
    assert len(estimate_contrast(partly, "gap", 0.1).questions) == 26


def test_rows_of_a_study_are_complete() -> None:
    of = cube(10, 12, {0.0: 0.02, 0.1: 0.7, 0.3: 0.9})
    found = analyse([of], [claim(at_least=0.5, at="all")])
    no_holes(found)
    keys = {(r.contrast, r.group, r.target, r.method) for r in found.estimates}
    assert ("gap", "trend", "seeds", "wilson and two-source") in keys
    assert ("gap", "0.3 - 0.1", "seeds and questions", "wilson and two-source") in keys
    assert ("gap_vs_control", "0.3", "seeds and questions", "wilson and two-source") in keys
    for method in ("seed t", "pooled", "crossed bootstrap, bca", "sign flip"):
        assert any(method == key[3] for key in keys), method
    assert [at.group for at in found.verdicts[0].groups] == [0.1, 0.3]
    below_ten = analyse([cube(9)], []).estimates
    assert not any("bootstrap" in r.method or r.method == "sign flip" for r in below_ten)


def test_a_seed_that_only_one_fraction_has_is_left_out_of_pairs() -> None:
    of = cube(5, 12, {0.1: 0.7, 0.3: 0.9})
    of = replace(of, seeds={0.1: (0, 1, 2, 3, 4), 0.3: (1, 2, 3, 4, 9)})
    pair = [r for r in analyse([of], []).estimates if r.group == "0.3 - 0.1"]
    assert {r.n_seeds for r in pair} == {4}


def test_a_claim_on_a_metric_without_labels_keeps_its_own_points() -> None:
    options = AnalysisOptions(planned={0.0: 3, 0.03: 3, 0.3: 3})
    adapters = Claim(metric="format", contrast="gap", at=Point(arm="adapters"), at_least=0.5)
    claims = [*(claim(at_least=0.5, at=at) for at in ("all", "any", 0.3)), adapters]
    found = analyse([], claims, options)
    groups = [[at.group for at in verdict.groups] for verdict in found.verdicts]
    assert groups == [[0.03, 0.3], [0.03, 0.3], [0.3], ["adapters"]]
    assert {verdict.reason for verdict in found.verdicts} == {"no data"}
    no_holes(found)
