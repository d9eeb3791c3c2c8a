"""What must hold for every table: order does not matter, signs turn over, equal data are no NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weirdgen.stats.contrast_estimate import ContrastEstimate, estimate_contrast
from weirdgen.stats.contrast_interval import ContrastInterval, p_by_inversion
from weirdgen.stats.metric_arrays import MetricArrays
from weirdgen.stats.paired import Pairs, newcombe_paired
from weirdgen.stats.rate_interval import Floors, rate_spread, wilson
from weirdgen.stats.two_way_variance import spread
from weirdgen.stats.variance_components import components

K = 4
SWAPPED = {"triggered": "untriggered", "untriggered": "triggered", "decoy": "decoy"}
fast = settings(max_examples=40)


@st.composite
def cubes(draw: st.DrawFn) -> MetricArrays:
    S, Q = draw(st.integers(2, 5)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = {c: draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])) for c in SWAPPED}
    y = {c: rng.binomial(K, p[c], (S, Q)) / K for c in SWAPPED}
    n = {c: np.full((S, Q), K) for c in SWAPPED}
    b = {c: rng.binomial(K, 0.3, Q) / K for c in SWAPPED}
    return MetricArrays("m", {0.1: tuple(range(S))}, {0.1: y}, {0.1: n}, b, {c: np.full(Q, K) for c in b},
                draw(st.booleans()))  # fmt: skip


def numbers(measured: ContrastEstimate) -> list[float]:
    low, high = measured.limits()
    return [measured.estimate, *(x for x in (low, high) if x is not None)]


targets = st.sampled_from(["seeds and questions", "seeds"])


@fast
@given(
    cubes(), st.randoms(use_true_random=False), targets, st.sampled_from(["gap", "gap_improvement"])
)
def test_the_order_of_seeds_and_questions_does_not_matter(of, random, target, contrast) -> None:
    S, Q = of.y_SQ[0.1]["triggered"].shape
    rows, columns = random.sample(range(S), S), random.sample(range(Q), Q)
    y = {c: a[np.ix_(rows, columns)] for c, a in of.y_SQ[0.1].items()}
    b = {c: a[columns] for c, a in of.b_Q.items()}
    other = MetricArrays("m", of.seeds, {0.1: y}, of.n_SQ, b, of.n_Q, of.graded)
    here, there = (estimate_contrast(x, contrast, 0.1, target) for x in (of, other))
    assert numbers(here) == pytest.approx(numbers(there), abs=1e-9)


@fast
@given(cubes(), targets, st.sampled_from(["gap", "gap_improvement"]))
def test_swapping_conditions_turns_signs_over(of: MetricArrays, target, contrast: str) -> None:
    def swapped(by: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {SWAPPED[c]: a for c, a in by.items()}

    other = MetricArrays("m", of.seeds, {0.1: swapped(of.y_SQ[0.1])}, of.n_SQ, swapped(of.b_Q), of.n_Q,
                 of.graded)  # fmt: skip
    here, there = (estimate_contrast(x, contrast, 0.1, target) for x in (of, other))
    assert here.estimate == pytest.approx(-there.estimate, abs=1e-12)
    if here.combined is None:
        assert there.combined is None
        return
    assert here.limits() == pytest.approx(tuple(-x for x in there.limits()[::-1]), abs=1e-9)
    p, q = (
        p_by_inversion(here.combined.limits, float(here.combined.estimate), 0.123),
        p_by_inversion(there.combined.limits, float(there.combined.estimate), -0.123),
    )
    assert p + q == pytest.approx(1, abs=1e-4)


@fast
@given(st.floats(0, 1), st.integers(2, 6), st.integers(2, 6))
def test_equal_data_have_no_spread_and_still_an_interval(value: float, S: int, Q: int) -> None:
    z_SQ = np.full((S, Q), value)
    assert spread(z_SQ).estimate == pytest.approx(value, abs=1e-12)
    assert spread(z_SQ).half_width() == pytest.approx(0, abs=1e-7)
    of = MetricArrays("m", {0.1: tuple(range(S))}, {0.1: {"triggered": z_SQ}},
              {0.1: {"triggered": np.full((S, Q), K)}}, graded=True)  # fmt: skip
    low, high = estimate_contrast(of, "triggered", 0.1).limits()
    assert low is not None
    assert high is not None
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.05  # equal grades are no certainty
    found = components(z_SQ, np.full((S, Q), K), np.zeros((S, Q)))
    assert np.isfinite([found.seed.low, found.seed.high, found.seed_question.high]).all()


@fast
@given(cubes(), targets, st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_intervals_hold_the_estimate_and_widen(of: MetricArrays, target, confidence: float) -> None:
    measured = estimate_contrast(of, "gap", 0.1, target)
    low, high = measured.limits(confidence)
    if low is None or high is None:
        return
    assert low - 1e-9 <= measured.estimate <= high + 1e-9
    wider = measured.limits(confidence + 0.005)
    assert wider[0] is not None
    assert wider[1] is not None
    assert wider[0] <= low + 1e-9
    assert wider[1] >= high - 1e-9


@fast
@given(cubes())
def test_p_falls_as_the_claim_grows_easier(of: MetricArrays) -> None:
    measured = estimate_contrast(of, "gap", 0.1)
    if measured.combined is None:
        return
    inverted, estimate = measured.combined.limits, float(measured.combined.estimate)
    ps = [p_by_inversion(inverted, estimate, bound) for bound in (-0.9, -0.3, 0.0, 0.3, 0.9)]
    assert ps == sorted(ps)
    assert all(0 < p < 1 for p in ps)


@fast
@given(st.lists(st.integers(0, 12), min_size=4, max_size=4).filter(lambda x: sum(x) > 0))
def test_paired_limits_turn_over_and_hold_the_difference(counts: list[int]) -> None:
    a, b, c, d = counts
    low, high = newcombe_paired(Pairs(a, b, c, d))
    assert (-high, -low) == pytest.approx(newcombe_paired(Pairs(a, c, b, d)), abs=1e-12)
    assert -1 - 1e-9 <= low <= (b - c) / sum(counts) + 1e-12
    assert (b - c) / sum(counts) <= high + 1e-12
    assert high <= 1 + 1e-9


@fast
@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_wilson_turns_over(p: float, n: float) -> None:
    low, high = wilson(p, n)
    other_low, other_high = wilson(1 - p, n)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low), abs=1e-9)
    assert 0 <= low <= p <= high <= 1


@fast
@given(st.integers(0, 2**32 - 1), targets)
def test_conditions_that_mirror_each_other_are_one_rate(seed: int, target) -> None:
    # u = 1 - t: the gap is 2t - 1, and its limits are those of one rate, where floors do not bind
    t = np.random.default_rng(seed).binomial(K, 0.7, (4, 5)) / K
    rate, other = (rate_spread(y, K, target, Floors(0.0, 0.0, 1.0)) for y in (t, 1 - t))
    gap = ContrastInterval(spread(2 * t - 1, target), ((1.0, rate), (-1.0, other)))
    (low, high), (wilson_low, wilson_high) = (rate.limits(floors=f) for f in (True, False))
    h, theta = gap.spread.half_width(), gap.estimate
    if (low, high) == (wilson_low, wilson_high):
        wider = max(min(2 * low - 1, theta - h), -1), min(max(2 * high - 1, theta + h), 1)
        assert gap.limits() == pytest.approx(wider, abs=1e-9)
    # u = t: nothing is left to vary, and squares are added as if they were independent
    same = ContrastInterval(spread(0 * t, target), ((1.0, rate), (-1.0, rate)))
    low, high = rate.limits(skewed=False)
    distance = np.hypot(rate.spread.estimate - low, high - rate.spread.estimate)
    assert same.limits() == pytest.approx((-distance, distance), abs=1e-9)


@fast
@given(st.integers(0, 2**32 - 1), targets)
def test_a_batch_is_its_studies(seed: int, target) -> None:
    rng = np.random.default_rng(seed)
    y, x = (rng.binomial(K, p, (3, 4, 5)) / K for p in (0.9, 0.1))

    def combined(a: np.ndarray, b: np.ndarray) -> ContrastInterval:
        rates = ((1.0, rate_spread(a, K, target)), (-1.0, rate_spread(b, K, target)))
        return ContrastInterval(spread(a - b, target), rates)

    together = np.array(combined(y, x).limits())
    one_by_one = [combined(a, b).limits() for a, b in zip(y, x, strict=True)]
    np.testing.assert_allclose(together.T, one_by_one)
