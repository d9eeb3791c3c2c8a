"""Intervals and tests of counts against numbers that others have published, or that other programs give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from weirdgen.report.wording import seeds_meeting
from weirdgen.stats.contrast_interval import ContrastInterval
from weirdgen.stats.paired import Pairs, mcnemar_exact, newcombe_paired
from weirdgen.stats.rate_interval import RateInterval, wilson
from weirdgen.stats.seeds_meeting import clopper_pearson, seeds_meeting_bound
from weirdgen.stats.sensitivity import pooled
from weirdgen.stats.two_way_variance import TwoWayVariance


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe (1998) Statistics in Medicine 17:857: Wilson, its method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_newcombes_table(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k / n, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(3, 10), (0, 7), (7, 7), (999, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_is_statsmodels(k: int, n: int, confidence: float) -> None:
    expected = proportion_confint(k, n, 1 - confidence, method="wilson")
    assert wilson(k / n, n, confidence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # the same: the exact limits, its method 5
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_pearson_is_newcombes_table_and_scipy(k, n, low, high) -> None:
    assert clopper_pearson(k, n) == pytest.approx((low, high), abs=5e-5)
    expected = stats.binomtest(k, n).proportion_ci(0.9, "exact")
    assert clopper_pearson(k, n, 0.9) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe (1998) Statistics in Medicine 17:2635, method 10
        (Pairs(36, 12, 2, 0), 0.0569, 0.3404),
        # Fagerland, Lydersen and Laake (2014) Statistics in Medicine 33:2850: the airways of Bentur et
        # al. (2009), `bentur_2009` in the R package contingencytables
        (Pairs(1, 1, 7, 12), -0.507, -0.026),
        # `cavo_2012` (Cavo et al. 2012) in the same package
        (Pairs(59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_paired_differences_are_the_published_ones(counts, low, high) -> None:
    digits = 5e-4 if abs(low) == 0.507 else 5e-5
    assert newcombe_paired(counts) == pytest.approx((low, high), abs=digits)


def test_the_published_single_seed_counts() -> None:
    # Fifteen questions: the persona gap has 9 discordant pairs to 0, leakage 1 to 3.
    assert mcnemar_exact(Pairs(4, 9, 0, 2)) == pytest.approx(0.0039, abs=5e-5)
    leakage = Pairs(3, 1, 3, 8)
    assert 100 * leakage.difference == pytest.approx(-13, abs=0.5)
    # [-42, +15] is Student's t over the 15 differences; the paired score interval is [-38, +14]
    differences = np.repeat([1.0, -1.0, 0.0], [1, 3, 11])
    t = stats.ttest_1samp(differences, 0).confidence_interval()
    assert [100 * x for x in t] == pytest.approx([-42, 15], abs=0.5)
    assert [100 * x for x in newcombe_paired(leakage)] == pytest.approx([-38.3, 14.4], abs=0.1)
    assert mcnemar_exact(leakage) == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        (Pairs(794, 150, 86, 570), 3.716e-5),  # Agresti (1990), p. 350, as in R's ?mcnemar.test
        # Fagerland et al. (2013), BMC Medical Research Methodology 13:91, both
        (Pairs(1, 1, 7, 12), 0.0703),
        (Pairs(59, 6, 16, 80), 0.0525),
    ],
)
def test_mcnemar_is_published_and_binomial(counts: Pairs, p: float) -> None:
    assert mcnemar_exact(counts) == pytest.approx(p, rel=2e-3)
    b, c = counts.first_only, counts.second_only
    assert mcnemar_exact(counts) == pytest.approx(stats.binomtest(b, b + c).pvalue)
    table = [[counts.both, b], [c, counts.neither]]
    assert mcnemar_exact(counts) == pytest.approx(mcnemar(table, exact=True).pvalue)


def _rate(k: int, n: int) -> RateInterval:
    """k of n independent answers, with nothing else known of their noise."""
    return RateInterval(TwoWayVariance(k / n, 0.0, 0.0, 0.0, 2, 2), float(n))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe (1998) Statistics in Medicine 17:873, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_contrasts_of_rates_are_newcombes_and_statsmodels(first, second, low, high) -> None:
    difference = first[0] / first[1] - second[0] / second[1]
    combined = ContrastInterval(
        TwoWayVariance(difference, 0.0, 0.0, 0.0, 2, 2), ((1, _rate(*first)), (-1, _rate(*second)))
    )
    assert combined.limits() == pytest.approx((low, high), abs=5e-5)
    expected = confint_proportions_2indep(*first, *second, method="newcomb")
    assert combined.limits() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (5, 56, 1, 29), (30, 300, 270, 300)])
def test_pooled_is_statsmodels_wald(counts: tuple[int, int, int, int]) -> None:
    k, n, j, m = counts
    naive = pooled(*(np.array([[x]]) for x in (k / n, n, j / m, m)))
    expected = confint_proportions_2indep(k, n, j, m, method="wald")
    assert (naive.low, naive.high) == pytest.approx(expected)


@pytest.mark.parametrize(("n_seeds", "differ"), [(3, 63), (5, 45), (10, 26), (20, 14)])
def test_what_agreeing_seeds_leave_open(n_seeds: int, differ: int) -> None:
    found = seeds_meeting_bound(np.full(n_seeds, 0.9), at_least=0.9)
    assert (found.meeting, found.of) == (n_seeds, n_seeds)
    assert f"All {n_seeds} seeds meet it" in seeds_meeting(found)
    assert f"at least {100 - differ}% of seeds would" in seeds_meeting(found)


def test_a_failed_training_does_not_meet_the_bound() -> None:
    found = seeds_meeting_bound(-np.full(7, 0.1), at_least=-0.2, failed=1)
    assert (found.meeting, found.of) == (7, 8)
    assert "failed or lack responses" in seeds_meeting(found)
    most = 100 * (1 - stats.binomtest(7, 8).proportion_ci(0.9).low)
    assert f"at least {100 - most:.0f}% of seeds would" in seeds_meeting(found)
