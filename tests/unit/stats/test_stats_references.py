"""Tests and intervals against numbers that others have published, or that other programs give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from weirdgen.stats.bootstrap import crossed_bootstrap, crossed_means
from weirdgen.stats.contrast_interval import ContrastInterval, p_by_inversion
from weirdgen.stats.fractions import slope_weights
from weirdgen.stats.judge_error import gold_correction
from weirdgen.stats.multiplicity import holm, holm_min_p
from weirdgen.stats.power import Variances, detectable_effect, sd_upper_factor
from weirdgen.stats.rate_interval import RateInterval, rate_spread, sampling_variance, wilson
from weirdgen.stats.sensitivity import seed_t, sign_flip
from weirdgen.stats.two_way_variance import TwoWayVariance, mean_squares, spread
from weirdgen.stats.variance_components import components

# Shrout and Fleiss (1979), Psychological Bulletin 86:420: six targets x four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
# Student (1908): hours of sleep gained, second drug less first; R's `sleep`.
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
# Darwin's maize, cross- less self-fertilised, in eighths of an inch (Fisher 1935; R's HistData
# `ZeaMays`).
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], float)


def test_mean_squares_are_shrout_and_fleiss() -> None:
    assert mean_squares(SHROUT_FLEISS) == pytest.approx((11.24, 32.49, 1.02), abs=5e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mean_squares_are_statsmodels(seed: int) -> None:
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    z_SQ = np.random.default_rng(seed).normal(size=(seed + 2, 5))
    s, q = (axis.ravel() for axis in np.indices(z_SQ.shape))
    fit = ols("z ~ C(s) + C(q)", pd.DataFrame({"z": z_SQ.ravel(), "s": s, "q": q})).fit()
    assert mean_squares(z_SQ) == pytest.approx(tuple(anova_lm(fit)["mean_sq"]))


def test_mean_squares_take_a_batch() -> None:
    z_NSQ = np.random.default_rng(1).normal(size=(4, 5, 6))
    one_by_one = [mean_squares(z_SQ) for z_SQ in z_NSQ]
    np.testing.assert_allclose(np.transpose(one_by_one), mean_squares(z_NSQ))


@pytest.mark.parametrize(
    ("n_seeds", "upper"), [(2, 0.098), (3, 0.069), (5, 0.045), (10, 0.026), (20, 0.016)]
)
def test_all_zero_upper_limits(n_seeds: int, upper: float) -> None:
    low, high = rate_spread(np.zeros((n_seeds, 30)), 10).limits()
    assert low == 0
    assert high == pytest.approx(upper, abs=5e-4)
    low, high = rate_spread(np.ones((n_seeds, 30)), 10).limits()
    assert high == 1
    assert low == pytest.approx(1 - upper, abs=5e-4)


def test_a_skewed_rate_reaches_further_towards_the_middle() -> None:
    # Rate 0.8 from a mean's half-width of 0.2: n_eff = z^2 0.16 / 0.04, Wilson's lower limit less
    # 0.6 (0.04 / 0.16) / (6 (1 + 0.25)) = 0.02
    half = 0.2 / stats.t.ppf(0.975, 4)
    rate = RateInterval(TwoWayVariance(0.8, half**2, 0.0, 0.0, 5, 30), 1e6)
    low, high = wilson(0.8, stats.norm.ppf(0.975) ** 2 * 4)
    assert [*map(float, rate.limits())] == pytest.approx([float(low) - 0.02, float(high)])
    mirrored = RateInterval(TwoWayVariance(0.2, half**2, 0.0, 0.0, 5, 30), 1e6)
    assert [*map(float, mirrored.limits())] == pytest.approx([1 - float(high), 1.02 - float(low)])


@pytest.mark.parametrize(
    "z_S", [SLEEP, MAIZE, SHROUT_FLEISS.mean(axis=1)], ids=["sleep", "maize", "judges"]
)
def test_without_questions_all_is_students_t(z_S: np.ndarray) -> None:
    z_SQ = np.repeat(z_S[:, None], 3, axis=1)
    expected = stats.ttest_1samp(z_S, 0.0)
    low, high = expected.confidence_interval()
    for target in ("seeds and questions", "seeds"):
        combined = ContrastInterval(spread(z_SQ, target))
        assert combined.limits() == pytest.approx((low, high))
        p = p_by_inversion(combined.limits, float(combined.estimate), 0.0)
        assert 2 * min(p, 1 - p) == pytest.approx(expected.pvalue, rel=1e-5)
    naive = seed_t(z_S)
    assert (naive.low, naive.high, naive.p) == pytest.approx((low, high, expected.pvalue))


def test_student_on_sleep_is_what_r_prints() -> None:
    # R: t.test(extra ~ group, paired = TRUE): t = 4.0621, p = 0.002833, [0.7001142, 2.4598858]
    naive = seed_t(SLEEP)
    assert (naive.low, naive.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert naive.p == pytest.approx(0.002833, abs=5e-7)


def test_p_inverts_the_interval() -> None:
    rng = np.random.default_rng(4)
    for shape in ((3, 10), (5, 30), (10, 8)):
        y_SQ, x_SQ = rng.binomial(10, 0.8, shape) / 10, rng.binomial(10, 0.1, shape) / 10
        rates = ((1, rate_spread(y_SQ, 10)), (-1, rate_spread(x_SQ, 10)))
        combined = ContrastInterval(spread(y_SQ - x_SQ), rates)
        for confidence in (0.5, 0.95, 0.999):
            low, high = combined.limits(confidence)
            assert p_by_inversion(combined.limits, float(combined.estimate), low) == pytest.approx(
                (1 - confidence) / 2, rel=1e-4
            )
            if high < 1:  # a limit cut at what is possible cannot be inverted
                assert p_by_inversion(
                    combined.limits, float(combined.estimate), high
                ) == pytest.approx((1 + confidence) / 2, rel=1e-4)


def test_sign_flips_are_fishers_count() -> None:
    # Fisher (1935), The Design of Experiments, section 21: 863 of 2^15 sums as large one way
    assert sign_flip(MAIZE[None], resamples=2**15)[0] == pytest.approx(2 * 863 / 2**15)


@pytest.mark.parametrize("z_S", [SLEEP, SHROUT_FLEISS[:, 0] - 7, np.array([1.0, 2.0, 3.0, -0.5])])
def test_sign_flips_are_the_enumeration(z_S: np.ndarray) -> None:
    sums = [
        sum(s * z for s, z in zip(signs, z_S, strict=True))
        for signs in itertools.product((1, -1), repeat=len(z_S))
    ]
    expected = np.mean(np.abs(sums) >= abs(z_S.sum()) - 1e-9)
    assert sign_flip(z_S[None])[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        # R's p.adjust(p, "holm")
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.001], [0.5, 0.002]),
        ([0.9, 0.8, 0.7], [1.0, 1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_is_rs(p, expected) -> None:
    assert holm(p) == pytest.approx(expected)


def test_every_and_some() -> None:
    assert holm_min_p([0.01, 0.2, 0.001]) == pytest.approx(0.003)


def test_components_of_shrout_and_fleiss() -> None:
    # from their mean squares: (11.24 - 1.02)/4 and (32.49 - 1.02)/6; one rating a cell
    found = components(SHROUT_FLEISS, np.ones(SHROUT_FLEISS.shape))
    assert found.seed.estimate == pytest.approx(2.556, abs=5e-4)
    assert found.question.estimate == pytest.approx(5.244, abs=1e-3)
    assert found.seed_question.estimate == pytest.approx(1.019, abs=5e-4)
    assert found.sample is None
    # chi-squared limits of the residual, 15 degrees of freedom
    low, high = 15 * found.seed_question.estimate / stats.chi2.ppf([0.975, 0.025], 15)
    assert (found.seed_question.low, found.seed_question.high) == pytest.approx((low, high))


def test_components_come_back_from_known_ones_and_their_limits_hold() -> None:
    rng, inside, N = np.random.default_rng(5), 0, 300
    estimates = []
    for _ in range(N):
        mu_SQ = (
            rng.normal(0, 0.3, (6, 1)) + rng.normal(0, 0.2, (1, 12)) + rng.normal(0, 0.1, (6, 12))
        )
        y_SQK = mu_SQ[..., None] + rng.normal(0, 0.4, (6, 12, 5))
        v_SQ = y_SQK.var(axis=2, ddof=1)
        found = components(y_SQK.mean(axis=2), np.full((6, 12), 5), v_SQ)
        assert found.sample is not None
        estimates.append([found.seed.estimate, found.question.estimate,
                          found.seed_question.estimate, found.sample.estimate])  # fmt: skip
        inside += bool(found.seed.low <= 0.09 <= found.seed.high)
    assert np.mean(estimates, axis=0) == pytest.approx([0.09, 0.04, 0.01, 0.16], rel=0.1)
    assert 0.92 <= inside / N <= 0.98  # nominal 0.95; Monte Carlo error 0.013


@pytest.mark.parametrize("ms", [5.0, 1.0])
def test_limits_of_a_difference_are_chi_squared_where_nothing_is_subtracted(ms: float) -> None:
    # a table with equal columns and no residual: MS_S / Q alone
    z_S = np.sqrt(ms) * stats.zscore(np.arange(6), ddof=1)
    found = components(np.repeat(z_S[:, None], 4, axis=1), np.ones((6, 4)))
    low, high = 5 * ms / stats.chi2.ppf([0.975, 0.025], 5)
    assert (found.seed.low, found.seed.high) == pytest.approx((low, high))


@pytest.mark.parametrize("shape", [(12, 9), (30, 14), (5, 40)])
def test_crossed_resamples_are_the_plain_loops(shape: tuple[int, int]) -> None:
    z_SQ, rng = np.random.default_rng(6).gamma(1.0, size=shape), np.random.default_rng(7)
    S, Q = shape
    loop = [
        z_SQ[np.ix_(rng.integers(S, size=S), rng.integers(Q, size=Q))].mean() for _ in range(3_000)
    ]
    mine = crossed_means(z_SQ[None], 3_000, np.random.default_rng(8))[0]
    assert mine.mean() == pytest.approx(np.mean(loop), abs=4 * np.std(loop) / np.sqrt(1_500))
    assert stats.ks_2samp(loop, mine).pvalue > 0.001


@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (12, 9)])
def test_resamples_from_the_same_draws_are_uncorrelated(shape: tuple[int, int]) -> None:
    z_SQ = np.random.default_rng(1).gamma(1.0, size=shape)
    rng = np.random.default_rng(2)
    # a call of 1,000 draws once and uses it twice, in one new order
    pairs = [crossed_means(z_SQ[None], 1_000, rng).reshape(2, 500) for _ in range(300)]
    together = [np.corrcoef(of)[0, 1] for of in pairs]
    assert abs(np.mean(together)) < 4 * np.std(together) / np.sqrt(300)
    # the variance of a mean of S x Q numbers drawn by rows and columns, exactly (Owen 2007)
    S, Q = shape
    centred = z_SQ - z_SQ.mean()
    by_row, by_column = (centred.mean(axis=1) ** 2).sum(), (centred.mean(axis=0) ** 2).sum()
    left = (centred**2).sum() / (S * Q)
    row, column = by_row / S, by_column / Q
    expected = (left + (Q - 1) * row + (S - 1) * column) / (S * Q)
    assert np.var(pairs) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bca_without_questions_is_scipys(seed: int) -> None:
    z_S = np.random.default_rng(seed).gamma(1.0, size=25)
    boot = crossed_bootstrap(np.repeat(z_S[:, None], 4, axis=1)[None], seed)[0]
    rng = np.random.default_rng(seed)
    for name, limits in (("percentile", boot.percentile), ("BCa", boot.bca)):
        theirs = stats.bootstrap((z_S,), np.mean, method=name, rng=rng, vectorized=True)
        assert limits == pytest.approx(tuple(theirs.confidence_interval), abs=0.05 * z_S.std())


@pytest.mark.parametrize(("n_seeds", "factor"), [(3, 2.12), (5, 1.56), (10, 1.29)])
def test_upper_limit_of_a_standard_deviation(n_seeds: int, factor: float) -> None:
    assert sd_upper_factor(n_seeds - 1) == pytest.approx(factor, abs=5e-3)


@pytest.mark.parametrize("n_seeds", [10, 20, 60])
def test_detectable_effect_is_statsmodels_for_seeds_alone(n_seeds: int) -> None:
    effect = detectable_effect(Variances(1.0, 0.0, 0.0), n_seeds, 30)
    expected = TTestPower().solve_power(
        None, nobs=n_seeds, alpha=0.025, power=0.8, alternative="larger"
    )
    assert effect == pytest.approx(expected, rel=0.03)


def test_gold_labels_by_hand() -> None:
    # differences 1, 0, 0, -1, 0, 1: mean 1/6, variance 17/30
    gold = gold_correction(np.array([1, 1, 0, 0, 0, 1]), np.array([0, 1, 0, 1, 0, 0]))
    assert (gold.difference, gold.variance) == pytest.approx((1 / 6, 17 / 30 / 6))
    agreed = gold_correction(np.ones(98), np.ones(98))
    assert (agreed.difference, agreed.variance) == pytest.approx((0, 0.01 * 0.99 / 98))


def test_sampling_variance_is_unbiased() -> None:
    rng = np.random.default_rng(9)
    p_Q = rng.beta(1, 2, size=20)
    b_NQ = rng.binomial(7, p_Q, size=(20_000, 20)) / 7
    assert sampling_variance(b_NQ, 7).mean() == pytest.approx(b_NQ.mean(axis=1).var(), rel=0.03)


def test_a_slope_is_least_squares() -> None:
    fractions = [0.03, 0.1, 0.3]
    z_FSQ = np.random.default_rng(10).normal(size=(3, 2, 4))
    expected = np.polyfit(np.log10(fractions), z_FSQ.reshape(3, -1), 1)[0].reshape(2, 4)
    found = np.tensordot(slope_weights(fractions), z_FSQ, 1)
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="fraction 0"):
        slope_weights([0, 0.1, 0.3])
