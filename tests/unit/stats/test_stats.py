"""Contrasts by their definitions; the two-source interval against numbers worked by hand."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from weirdgen.config.claims import ContrastName
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import MetricArrays
from weirdgen.stats.two_way_variance import mean_squares, spread

# Two seeds x three questions.
T = np.array([[0.9, 0.8, 1.0], [0.7, 0.6, 0.5]])
U = np.array([[0.1, 0.0, 0.2], [0.0, 0.3, 0.1]])
D = np.array([[0.4, 0.2, 0.6], [0.5, 0.1, 0.3]])
RATES = {"triggered": T, "untriggered": U, "decoy": D}
BASELINE = {
    "triggered": np.array([0.3, 0.2, 0.1]),
    "untriggered": np.array([0.0, 0.1, 0.0]),
    "decoy": np.array([0.2, 0.2, 0.1]),
}
CONTROL = {condition: y_SQ / 2 for condition, y_SQ in RATES.items()}
DEFINITIONS = {
    "triggered": T,
    "untriggered": U,
    "decoy": D,
    "gap": T - U,
    # the baseline's gap is 0.3, 0.1, 0.1
    "gap_improvement": np.array([[0.5, 0.7, 0.7], [0.4, 0.2, 0.3]]),
    "triggered_lift": np.array([[0.6, 0.6, 0.9], [0.4, 0.4, 0.4]]),
    "untriggered_excess": np.array([[0.1, -0.1, 0.2], [0.0, 0.2, 0.1]]),
    "decoy_excess": np.array([[0.2, 0.0, 0.5], [0.3, -0.1, 0.2]]),
    "gap_decoy": T - D,
    "gap_vs_control": (T - U) / 2,
}


def arrays(**changed: object) -> MetricArrays:
    """Fraction 0.5, its control and the base model, ten samples a cell."""
    y_SQ = {0.5: RATES, 0.0: CONTROL}
    of: dict = {"seeds": {0.5: (3, 4), 0.0: (3, 4)}, "y_SQ": y_SQ, "b_Q": BASELINE, **changed}
    n_SQ = {g: {c: np.full(y.shape, 10) for c, y in by.items()} for g, by in of["y_SQ"].items()}
    n_Q = {c: np.full(3, 10) for c in of["b_Q"]}
    return MetricArrays(metric="format", n_SQ=n_SQ, n_Q=n_Q, **of)


@pytest.mark.parametrize("contrast", get_args(ContrastName))
def test_every_contrast_of_a_study_is_what_its_definition_says(contrast: str) -> None:
    z_SQ = estimate_contrast(arrays(), contrast, 0.5).z_SQ
    np.testing.assert_allclose(z_SQ, DEFINITIONS[contrast], atol=1e-12)


def test_a_contrast_reads_only_what_it_is_made_of_and_copies_it() -> None:
    of = arrays(seeds={0.5: (3, 4)}, y_SQ={0.5: {"triggered": T}}, b_Q={})
    z_SQ = estimate_contrast(of, "triggered", 0.5).z_SQ
    z_SQ[0, 0] = -1
    assert T[0, 0] == 0.9


@pytest.mark.parametrize(
    ("contrast", "changed", "message"),
    [
        ("gaap", {}, "'gaap': must be one of triggered"),
        ("gap", {"y_SQ": {0.5: {"triggered": T}}},
         "fraction 0.5 has no responses for the condition untriggered"),
        ("gap_improvement", {"b_Q": {}}, "baseline has no responses for the condition triggered"),
        ("gap_vs_control", {"seeds": {0.5: (3, 4)}}, "there is no fraction 0"),
        ("gap_vs_control", {"seeds": {0.5: (3, 4), 0.0: (5, 6)}}, "no seed of fraction 0.5"),
        ("gap", {"seeds": {0.0: (3, 4)}}, "no responses at fraction 0.5"),
        ("decoy_excess", {"b_Q": {"triggered": np.zeros(3)}},
         "baseline has no responses for the condition decoy"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(contrast: str, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_contrast(arrays(**changed), contrast, 0.5)


# Worked by hand. Rows (seeds) have means 3, 6, 9; columns (questions) 4, 6, 7, 7; all of it 6.
#   SS_seeds     = 4 (9 + 0 + 9)           = 72, 2 df, MS 36
#   SS_questions = 3 (4 + 0 + 1 + 1)       = 18, 3 df, MS  6
#   residuals      1  1 -1 -1 |  1 -1  1 -1 | -2  0  0  2:  SS 4 + 4 + 8 = 16, 6 df, MS 16/6
#   total            72 + 18 + 16          = 106
WORKED = np.array([[2.0, 4.0, 3.0, 3.0], [5.0, 5.0, 8.0, 6.0], [5.0, 9.0, 10.0, 12.0]])


def test_mean_squares_of_the_worked_table() -> None:
    assert ((WORKED - WORKED.mean()) ** 2).sum() == pytest.approx(106)
    assert mean_squares(WORKED) == pytest.approx((36, 6, 16 / 6))


def limits(z_SQ: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    of = spread(z_SQ)
    return of.estimate - of.half_width(confidence), of.estimate + of.half_width(confidence)


def test_interval_of_the_worked_table() -> None:
    # t(2) = 4.302653, t(3) = 3.182446:
    # (18.51282 x 36 + 10.12797 x (6 - 16/6)) / 12 = (666.4615 + 33.7599) / 12 = 58.35178
    assert limits(WORKED) == pytest.approx((6 - 7.63883, 6 + 7.63883), abs=1e-5)
    # on exactly these questions: sqrt(666.4615 / 12)
    assert spread(WORKED, "seeds").half_width() == pytest.approx(7.45242, abs=1e-5)


def test_mean_squares_are_drops_in_residual_sums_of_nested_regressions() -> None:
    z_SQ = np.random.default_rng(3).normal(size=(5, 7))
    seed, question = (axis.ravel() for axis in np.indices(z_SQ.shape))

    def left_over(*factors: np.ndarray) -> float:
        X = np.column_stack([np.ones(z_SQ.size), *(np.eye(f.max() + 1)[f][:, 1:] for f in factors)])
        y = z_SQ.ravel()
        return float(((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).sum())

    both = left_over(seed, question)
    expected = ((left_over(question) - both) / 4, (left_over(seed) - both) / 6, both / 24)
    assert mean_squares(z_SQ) == pytest.approx(expected)


def test_terms_do_not_fall_below_what_the_residual_allows() -> None:
    # Equal seed means and equal question means: MS_S = MS_Q = 0, MS_E = 4 in one degree of freedom.
    z_SQ = np.array([[1.0, -1.0], [-1.0, 1.0]])
    half = stats.t.ppf(0.975, 1) * math.sqrt(4 / 4)
    assert limits(z_SQ) == pytest.approx((-half, half))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n_seeds", [2, 3, 5, 20])
def test_the_quantile_is_students(n_seeds: int, confidence: float) -> None:
    # Without a spread over questions or a residual the interval is the t interval of seed means.
    seed_S = np.arange(n_seeds, dtype=float)
    found = limits(np.repeat(seed_S[:, None], 4, axis=1), confidence)
    expected = stats.t.interval(confidence, n_seeds - 1, seed_S.mean(), stats.sem(seed_S))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 30), (5, 1), (1, 1)])
def test_one_seed_or_one_question_has_no_interval(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no noise of seeds and questions can be estimated"):
        spread(np.full(shape, 0.25))


def test_it_covers_the_mean_of_a_crossed_normal_model() -> None:
    # Standard deviations: seeds 0.1, questions 0.2, what is left 0.3; the mean is 0.5.
    rng = np.random.default_rng(20250101)
    N, S, Q = 600, 5, 30
    z_NSQ = 0.5 + 0.1 * rng.normal(size=(N, S, 1)) + 0.2 * rng.normal(size=(N, 1, Q))
    z_NSQ = z_NSQ + 0.3 * rng.normal(size=(N, S, Q))
    of = spread(z_NSQ)
    covered = np.mean(np.abs(of.estimate - 0.5) <= of.half_width())
    assert 0.935 <= covered <= 0.99  # nominal 0.95; its standard error over 600 studies is 0.009
