"""Studies whose truth is known, for calibration.py: rates tied together by a Gaussian copula.

The rate of a seed and question is BetaQuantile(Phi(sqrt(r_S) A_s + sqrt(r_Q) B_q + sqrt(r_I) C_sq)),
with r_S + r_Q + r_I = 1, so that every cell has the same Beta marginal and the mean over seeds and
questions is exactly the Beta's mean. A, B and C of two conditions correlate by rho. The base
model shares the questions' B with a correlation of 0.8. Nothing in it is normal on the scale of
rates or of log-odds, which is what the method was worked out on. The marginal `probit` is
Phi(m + s score) instead, of the same mean and variance: another shape near 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from scipy import optimize, stats

LEVELS, DRAWS = 2048, 4096
"""Steps of the copula's normal score, from -5 to 5, and of the uniform that draws a count."""


@dataclass(frozen=True)
class Setting:
    name: str
    kind: str
    """smooth, bimodal, rare, or beyond what the method holds for: what is listed together."""
    means: tuple[float, float, float, float]
    """Of triggered, untriggered, and of the base model's two."""
    icc: float
    """Variance of a rate over seeds and questions, as a share of mean (1 - mean)."""
    shares: tuple[float, float, float]
    """Of seeds, questions and seeds x questions in it; they sum to 1."""
    rho: float
    samples: int = 10
    bimodal: float = 0.0
    """Share of seeds that never learn the trigger: their triggered rate is the untriggered one."""
    marginal: str = "beta"
    """How rates are distributed: `beta` or `probit`."""


MIDDLE, EDGE = (0.70, 0.30, 0.40, 0.25), (0.93, 0.05, 0.33, 0.10)
EVEN, SEED, QUESTION, BOTH = (
    (1 / 3, 1 / 3, 1 / 3),
    (0.8, 0.1, 0.1),
    (0.1, 0.8, 0.1),
    (0.1, 0.1, 0.8),
)


def settings() -> Iterator[Setting]:
    shapes = {"even": EVEN, "seeds": SEED, "questions": QUESTION, "seeds x questions": BOTH}
    for rho in (0.8, -0.8):
        for name, icc, samples, means in (
            ("even", 0.05, 10, MIDDLE),
            ("seeds", 0.30, 10, MIDDLE),
            ("questions", 0.30, 10, MIDDLE),
            ("seeds x questions", 0.30, 10, MIDDLE),
            ("even", 0.30, 1, MIDDLE),
            ("even", 0.10, 10, EDGE),
            ("seeds", 0.20, 10, EDGE),
            ("questions", 0.30, 10, EDGE),
        ):
            where = "middle" if means is MIDDLE else "edge"
            yield Setting(f"{where}, {name}", "smooth", means, icc, shapes[name], rho, samples)
    some = Setting("one seed in three does not learn", "bimodal", EDGE, 0.10, EVEN, 0.8)
    yield replace(some, bimodal=0.33)
    yield replace(some, name="one seed in ten does not learn", bimodal=0.10)
    rare = (0.90, 0.01, 0.30, 0.01)
    yield Setting("untriggered 1%, even", "rare", rare, 0.05, EVEN, 0.8)
    yield Setting("untriggered 1%, by seeds", "rare", rare, 0.20, SEED, 0.8)
    yield Setting("untriggered 0", "rare", (0.90, 0.0, 0.30, 0.0), 0.05, EVEN, 0.8)
    for icc, rate in product((0.30, 0.45), (0.80, 0.85, 0.93)):
        means = (rate, 1 - rate, 0.33, 0.10)
        name = f"{rate:.2f} / {1 - rate:.2f}, variance {icc:.0%}"
        yield Setting(name, "beyond", means, icc, SEED, -0.8)


GRID = np.linspace(-6, 6, 241)


class Marginal:
    """One condition's rates and counts by level of the normal score; and their exact means."""

    def __init__(self, mean: float, icc: float, samples: int, marginal: str) -> None:
        self.edges = np.linspace(-5, 5, LEVELS + 1)
        score = (self.edges[1:] + self.edges[:-1]) / 2
        size = 1 / icc - 1
        if 0 < mean < 1 and marginal == "probit":
            rate = _probit(mean, icc, score)
        elif 0 < mean < 1:
            rate = stats.beta.ppf(stats.norm.cdf(score), mean * size, (1 - mean) * size)
        else:
            rate = np.full(LEVELS, mean)
        u = (np.arange(DRAWS) + 0.5) / DRAWS
        cdf = stats.binom.cdf(np.arange(samples)[None, :], samples, rate[:, None])
        self.counts = (u[None, :, None] > cdf[:, None, :]).sum(axis=2).astype(np.uint8)
        self.rate = self.counts.mean(axis=1) / samples
        """What the counts really average to: exact, though both are in steps."""

    @property
    def mean(self) -> float:
        return float(self.mean_given(np.zeros(1), 1.0)[0])

    def mean_given(self, centre: np.ndarray, sd: float) -> np.ndarray:
        """Mean rate where the score is normal around `centre`."""
        return np.interp(centre, GRID, self._means(sd))

    @lru_cache  # noqa: B019 - a handful of these live as long as the process
    def _means(self, sd: float) -> np.ndarray:
        below = stats.norm.cdf((self.edges[None, 1:-1] - GRID[:, None]) / sd)
        cuts = np.hstack([np.zeros((len(GRID), 1)), below, np.ones((len(GRID), 1))])
        return np.diff(cuts, axis=1) @ self.rate

    def level(self, score: np.ndarray) -> np.ndarray:
        return np.clip((score + 5) * (LEVELS / 10), 0, LEVELS - 1).astype(np.int32)


def _probit(mean: float, icc: float, score: np.ndarray) -> np.ndarray:
    """Phi(m + s score) for a standard normal score, whose mean and variance are those of the Beta."""

    def second_moment(s: float) -> float:
        # The chance that two draws with one score both succeed: a bivariate normal's quadrant.
        r, at = s**2 / (1 + s**2), stats.norm.ppf(mean)
        both = stats.multivariate_normal(np.zeros(2), [[1, r], [r, 1]])  # pyright: ignore[reportArgumentType]
        return float(both.cdf([at, at]))

    wanted = icc * mean * (1 - mean) + mean**2
    s = float(optimize.brentq(lambda s: second_moment(s) - wanted, 1e-3, 20))  # pyright: ignore[reportArgumentType]
    return stats.norm.cdf(stats.norm.ppf(mean) * np.sqrt(1 + s**2) + s * score)


@lru_cache(64)
def marginal_of(mean: float, icc: float, samples: int, marginal: str) -> Marginal:
    return Marginal(mean, icc, samples, marginal)


def correlated(rho: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Two standard normals, correlated by rho, each of `shape`."""
    x = rng.standard_normal((2, *shape), dtype=np.float32)
    x[1] = rho * x[0] + np.sqrt(1 - rho**2) * x[1]
    return x


def simulate(
    of: Setting, N: int, S: int, Q: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Rates y_NSQ of two conditions, b_NQ of the baseline, and what is true on average and here."""
    r_S, r_Q, r_I = of.shares
    a, b = correlated(of.rho, (N, S, 1), rng), correlated(of.rho, (N, 1, Q), rng)
    c = correlated(of.rho, (N, S, Q), rng)
    K, K_b = of.samples, max(5 * of.samples, 10)
    out: dict[str, np.ndarray] = {}
    marginals = [marginal_of(mean, of.icc, K, of.marginal) for mean in of.means[:2]]
    levels, here = [], []
    for at, marginal in enumerate(marginals):
        score = np.sqrt(r_Q) * b[at] + np.sqrt(r_S) * a[at]
        score = score + np.sqrt(r_I) * c[at]
        levels.append(marginal.level(score))
        here.append(marginal.mean_given(np.sqrt(r_Q) * b[at, :, 0], np.sqrt(1 - r_Q)))
    fails = rng.random((N, S, 1)) < of.bimodal
    for at, name in enumerate(("t", "u")):
        draw = rng.integers(DRAWS, size=(N, S, Q), dtype=np.uint16)
        y = marginals[at].counts[levels[at], draw]
        if at == 0 and of.bimodal:
            y = np.where(fails, marginals[1].counts[levels[1], draw], y)
        out[name] = y / np.float64(K)
    truth = [np.full(N, marginal.mean) for marginal in marginals]
    truth[0] = (1 - of.bimodal) * truth[0] + of.bimodal * truth[1]
    out["t true"], out["u true"] = truth
    out["t here"] = (1 - of.bimodal) * here[0].mean(axis=1) + of.bimodal * here[1].mean(axis=1)
    out["u here"] = here[1].mean(axis=1)
    d = correlated(of.rho, (N, Q), rng)
    for at, name in enumerate(("bt", "bu")):
        marginal = marginal_of(of.means[2 + at], of.icc, 10, of.marginal)
        shared = 0.8 * b[at, :, 0] + 0.6 * rng.standard_normal((N, Q))
        p = marginal.rate[marginal.level(np.sqrt(r_Q) * shared + np.sqrt(1 - r_Q) * d[at])]
        out[name] = rng.binomial(K_b, p) / K_b
        out[f"{name} true"] = np.full(N, marginal.mean)
        out[f"{name} here"] = p.mean(axis=1)
    return out
