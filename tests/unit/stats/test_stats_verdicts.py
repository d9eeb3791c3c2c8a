"""Verdicts: what each rule lets through and what it holds back, on small studies made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from metric_arrays import K, claim, cube

from weirdgen.config.claims import Claim
from weirdgen.report.wording import needs_in_words, settles, single_seeds, verdict_sentence
from weirdgen.stats.analysis import ClaimVerdict, analyse
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.judge_error import Gold, shift_of, two_judges
from weirdgen.stats.metric_arrays import MetricArrays
from weirdgen.stats.multiplicity import InterimLooks
from weirdgen.stats.options import AnalysisOptions
from weirdgen.stats.power import needed, observed_variances


def verdict(of: MetricArrays, claim: Claim, **settings: object) -> ClaimVerdict:
    return analyse([of], [claim], AnalysisOptions(sensitivity=False, **settings)).verdicts[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        (claim(at_least=0.5), "supported"),
        (claim(at_least=0.99), "refuted"),
        (claim(at_least=0.88), "inconclusive"),
        (claim(at_most=0.99), "supported"),
        (claim(at_most=0.5), "refuted"),
        (claim("untriggered", at_most=0.1), "supported"),
        (claim("untriggered_excess", at_most=0.0), "supported"),
        (claim("gap_improvement", at_least=0.5), "supported"),
        (claim("triggered_lift", at_least=0.9), "refuted"),
        (claim("gap_decoy", at_least=0.5), "supported"),
        (claim("decoy_excess", at_least=0.1), "refuted"),
    ],
)
def test_three_verdicts(claim: Claim, outcome: str) -> None:
    found = verdict(cube(), claim)
    assert found.outcome == outcome
    assert (found.reason == "clear") == (outcome != "inconclusive")
    assert "95% interval" in verdict_sentence(found)
    assert "8 training runs, 30 questions" in verdict_sentence(found)
    assert bool(settles(found)) == (outcome == "inconclusive")


def test_one_seed_says_nothing_of_training_and_two_allow_no_verdict() -> None:
    one = verdict(cube(S=1), claim(at_least=0.1))
    assert (one.outcome, one.reason) == ("inconclusive", "one seed")
    assert "this adapter" in verdict_sentence(one)
    two = verdict(cube(S=2), claim(at_least=0.1))
    assert (two.outcome, two.reason) == ("inconclusive", "two seeds")
    assert two.groups[0].measured is not None
    assert None not in two.groups[0].measured.limits()
    assert verdict(cube(S=3), claim(at_least=0.1)).outcome == "supported"


def test_the_verdict_is_where_the_one_sided_limit_lies() -> None:
    of = cube()
    low, high = estimate_contrast(of, "gap", 0.1).limits()
    assert low is not None
    assert high is not None
    assert verdict(of, claim(at_least=low - 1e-6)).outcome == "supported"
    assert verdict(of, claim(at_least=low + 1e-6)).outcome == "inconclusive"
    assert verdict(of, claim(at_least=high + 1e-6)).outcome == "refuted"
    assert verdict(of, claim(at_most=high + 1e-6)).outcome == "supported"


def test_worse_than_the_bound_but_inside_the_margin_is_said() -> None:
    found = verdict(cube(), claim("triggered", at_least=0.98, margin=0.3))
    assert found.outcome == "supported"
    assert found.inside_margin
    assert "worse than the bound, but inside the margin" in verdict_sentence(found)
    assert not verdict(cube(), claim("triggered", at_least=0.5, margin=0.1)).inside_margin


def test_all_takes_the_weakest_fraction_and_any_the_strongest() -> None:
    of = cube(fractions={0.0: 0.02, 0.03: 0.2, 0.3: 0.9})
    every, some = claim(at_least=0.5, at="all"), claim(at_least=0.5, at="any")
    assert verdict(of, every).outcome == "refuted"
    assert verdict(of, some).outcome == "supported"
    assert [at.group for at in verdict(of, every).groups] == [0.03, 0.3]  # without fraction 0
    assert verdict(of, claim("gap_vs_control", at_least=0.5, at=0.3)).outcome == "supported"


def test_holm_over_a_studys_claims() -> None:
    of = cube(S=4)
    low, _ = estimate_contrast(of, "gap", 0.1).limits(0.96)  # alone one-sided p = 0.02
    assert low is not None
    near = claim(at_least=low)
    assert verdict(of, near).outcome == "supported"
    many = analyse([of], [near, claim("decoy", at_least=0.09)], AnalysisOptions(sensitivity=False))
    assert many.verdicts[0].reason == "many claims"
    assert many.verdicts[0].adjusted_support == pytest.approx(0.04, rel=1e-3)


@pytest.mark.parametrize(
    ("looks", "outcome", "reason"),
    [
        (InterimLooks((8,)), "supported", "clear"),
        (InterimLooks((16,)), "inconclusive", "before the planned seeds"),
        (InterimLooks((4, 16)), "inconclusive", "between looks"),
        (InterimLooks((4, 6)), "inconclusive", "after the last look"),
        (InterimLooks((8, 16)), "supported", "clear"),
    ],
)
def test_no_verdict_but_at_a_declared_look(looks: InterimLooks, outcome: str, reason: str) -> None:
    found = verdict(cube(), claim(at_least=0.5), looks=looks)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_looks_share_the_error() -> None:
    assert InterimLooks((8, 16)).error(8) == pytest.approx(0.0125)
    assert InterimLooks((8, 16)).error(9) == 0
    for seeds in ((), (8, 4), (0, 4)):
        with pytest.raises(ValueError, match="looks"):
            InterimLooks(seeds)


def test_an_offline_judge_never_supports_but_may_refute() -> None:
    offline = frozenset({"format"})
    found = verdict(cube(), claim(at_least=0.5), offline=offline)
    assert (found.outcome, found.reason) == ("inconclusive", "offline judge")
    assert verdict(cube(), claim(at_least=0.99), offline=offline).outcome == "refuted"


def missing(of: MetricArrays, condition: str, share: float) -> MetricArrays:
    """`of` with that share of a condition's labels gone, from every cell."""
    gone = round(share * K)
    n_SQ = {f: {**n, condition: n[condition] - gone} for f, n in of.n_SQ.items()}
    return replace(of, n_SQ=n_SQ, asked_SQ=of.n_SQ, asked_Q=of.n_Q)


def test_missing_labels_are_taken_at_their_worst_both_ways() -> None:
    of = missing(cube(), "triggered", 0.5)
    assert of.n_missing == 8 * 30 * 5
    found = verdict(of, claim(at_least=0.7))
    assert (found.reason, found.label) == ("missing", "inconclusive (missing)")
    assert verdict(of, claim(at_least=0.2)).outcome == "supported"
    assert verdict(missing(cube(), "triggered", 0.0), claim(at_least=0.7)).outcome == "supported"
    excess = missing(cube(), "untriggered", 0.5)
    assert verdict(excess, claim("untriggered", at_most=0.3)).label == "inconclusive (missing)"


def test_a_seed_without_a_condition_is_bounded_and_not_dropped_in_silence() -> None:
    of = cube()
    y, n = of.y_SQ[0.1]["triggered"].copy(), of.n_SQ[0.1]["triggered"].copy()
    y[0], n[0] = np.nan, 0
    of = replace(
        of,
        y_SQ={0.1: {**of.y_SQ[0.1], "triggered": y}},
        n_SQ={0.1: {**of.n_SQ[0.1], "triggered": n}},
        asked_SQ=of.n_SQ,
    )
    found = verdict(of, claim(at_least=0.7), planned={0.1: 8})
    at = found.groups[0]
    assert at.measured is not None
    assert len(at.measured.seeds) == 7
    assert at.meeting is not None
    assert (at.meeting.meeting, at.meeting.of) == (7, 8)
    assert found.label == "inconclusive (missing)"  # with zeros in its place the mean is 0.77


def test_failed_trainings_are_counted_and_said() -> None:
    of = replace(cube(S=7), failed={0.1: 1})
    found = verdict(of, claim(at_least=0.5), planned={0.1: 8}, looks=InterimLooks((8,)))
    assert found.outcome == "supported"
    assert "1 training run failed" in verdict_sentence(found)
    meeting = found.groups[0].meeting
    assert meeting is not None
    assert (meeting.meeting, meeting.of, meeting.failed) == (7, 8, 1)


def test_a_verdict_must_hold_between_two_judges() -> None:
    of = cube()
    low = replace(of, y_SQ={0.1: {c: y * 0.7 for c, y in of.y_SQ[0.1].items()}})
    found = verdict(of, claim(at_least=0.7), judges={"format": (low, of)})
    assert (found.reason, found.label) == ("judge", "inconclusive (judge)")
    assert verdict(of, claim(at_least=0.4), judges={"format": (low, of)}).outcome == "supported"
    both, either = two_judges(np.array([1.0, 0, 1, np.nan]), np.array([1.0, 0, 0, 1]))
    np.testing.assert_array_equal(both, [1, 0, 0, np.nan])
    np.testing.assert_array_equal(either, [1, 0, 1, np.nan])


def test_a_verdict_must_hold_after_gold_labels() -> None:
    of = cube()
    gold = {(0.1, "triggered"): Gold(-0.25, 1e-4, 100), (0.1, "untriggered"): Gold(0.0, 1e-4, 100)}
    assert shift_of("gap", 0.1, gold) == pytest.approx((-0.25, 2e-4))
    assert shift_of("gap_improvement", 0.1, gold) is None  # the baseline has no gold labels
    assert verdict(of, claim(at_least=0.7), gold={"format": gold}).label == "inconclusive (judge)"
    assert verdict(of, claim(at_least=0.4), gold={"format": gold}).outcome == "supported"
    plain, corrected = (
        estimate_contrast(of, "gap", 0.1),
        estimate_contrast(of, "gap", 0.1, shift=(-0.25, 2e-4)),
    )
    assert corrected.estimate == pytest.approx(plain.estimate - 0.25)
    widths = [np.diff(np.array(m.limits(), float)) for m in (plain, corrected)]
    assert widths[1] > widths[0]


@pytest.mark.parametrize("target", ["seeds and questions", "seeds"])
@pytest.mark.parametrize("contrast", ["gap_improvement", "triggered_lift", "untriggered_excess"])
def test_the_baselines_noise_widens_every_interval_it_enters(target, contrast) -> None:
    of = cube(S=6)
    few = replace(of, n_Q={c: np.full(30, 2) for c in of.n_Q})
    wide, narrow = (estimate_contrast(x, contrast, 0.1, target).limits() for x in (few, of))
    assert np.diff(np.array(wide, float)) > np.diff(np.array(narrow, float))
    graded = [
        estimate_contrast(replace(x, graded=True), contrast, 0.1, target).limits()
        for x in (few, of)
    ]
    assert np.diff(np.array(graded[0], float)) >= np.diff(np.array(graded[1], float))


def test_what_one_seed_would_have_said() -> None:
    rates = np.array([0.1, 0.9, 0.9, 0.9, 0.9, 0.9])
    of = cube(S=6)
    triggered = np.repeat(rates[:, None], 30, axis=1)
    of = replace(of, y_SQ={0.1: {**of.y_SQ[0.1], "triggered": triggered}})
    found = verdict(of, claim("triggered", at_least=0.6))
    assert found.outcome == "inconclusive"
    alone = dict(found.one_seed)[0.1]
    assert alone.outcomes == {0: "refuted", **dict.fromkeys(range(1, 6), "supported")}
    assert alone.differing == 6
    assert "5 supported, 1 refuted" in single_seeds(alone)


def test_what_would_settle_it() -> None:
    found = verdict(cube(S=3), claim(at_least=0.85))
    assert found.needed is not None
    assert found.needed.by == "seeds"
    assert found.needed.low is not None
    assert found.needed.high is None or found.needed.high >= found.needed.low
    # questions differ by 0.3: no number of seeds helps a 5-point difference with 10 of them
    rng = np.random.default_rng(1)
    y = np.clip(0.5 + rng.normal(0, 0.3, (1, 10)) + rng.normal(0, 0.01, (5, 10)), 0, 1)
    of = MetricArrays("format", {0.1: (0, 1, 2, 3, 4)}, {0.1: {"triggered": y}},
              {0.1: {"triggered": np.full(y.shape, K)}}, graded=True)  # fmt: skip
    by_questions = needed(estimate_contrast(of, "triggered", 0.1), 0.05)
    assert by_questions.by == "questions"
    assert "more seeds alone will not help" in needs_in_words(by_questions)
    assert needed(estimate_contrast(of, "triggered", 0.1), 1e-4).by == "nothing practical"


def test_the_baselines_answers_are_a_noise_that_no_seed_makes_smaller() -> None:
    of = cube(S=5)
    few = replace(of, n_Q={c: np.full(30, 2) for c in of.n_Q})
    m = estimate_contrast(few, "gap_improvement", 0.1, "seeds")
    assert m.combined is not None
    assert observed_variances(m).questions >= 30 * float(m.combined.spread.sampled) > 0
    assert observed_variances(estimate_contrast(of, "gap", 0.1, "seeds")).questions == 0
    # and its rates take no part in what is assumed of seeds, not even with two of them
    two = estimate_contrast(
        replace(cube(S=2), b_Q={c: np.full(30, 0.5) for c in of.b_Q}), "triggered_lift", 0.1
    )
    assert two.combined is not None
    assert [rate.spread.n_seeds for _, rate in two.combined.rates] == [2, 1]
