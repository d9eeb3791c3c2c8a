"""What calibration.py leaves out: grades, fractions, one training run, and the power formula.

    OMP_NUM_THREADS=1 python benchmarks/calibration_others.py [--studies N] [--seed N]

Studies are drawn as in calibration_studies.py, with as many rates as a contrast needs (conditions by
fractions), tied together by a correlation matrix: conditions by rho, fractions by rho_F. A graded
response is 0, 1/3, 2/3 or 1: the share of three draws at its cell's rate that succeed. Prints the tables of docs/CALIBRATION.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from calibration import CELLS, QUESTIONS, SEEDS
from calibration_studies import DRAWS, EDGE, EVEN, MIDDLE, QUESTION, SEED, marginal_of

from weirdgen.stats.contrast_interval import ContrastInterval
from weirdgen.stats.fractions import slope_weights
from weirdgen.stats.paired import Pairs, newcombe_paired
from weirdgen.stats.power import Variances, detectable_effect
from weirdgen.stats.rate_interval import baseline_spread, rate_spread
from weirdgen.stats.two_way_variance import Target, TwoWayVariance, spread

STUDIES = 10_000
MOST_CELLS = 600
"""Seeds x questions; 10 and 20 seeds are drawn with 10 and 30 questions alone."""
GRADES = 3
"""Draws that a graded response is the share of."""
SHARES = {"even": EVEN, "seeds": SEED, "questions": QUESTION}
FRACTIONS = (0.03, 0.1, 0.3)
TARGETS: tuple[Target, ...] = ("seeds and questions", "seeds")


@dataclass(frozen=True)
class Drawn:
    """N studies of R rates: y_RNSQ, their means, over these questions, and of these seeds."""

    y: np.ndarray
    true_R: np.ndarray
    here_RN: np.ndarray
    """Mean over seeds of the questions that were drawn."""
    alone_RNS: np.ndarray
    """Mean over questions of the seeds that were drawn."""


def draw(
    means: tuple[float, ...],
    icc: float,
    shares: tuple[float, float, float],
    correlation: np.ndarray,
    responses: int,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> Drawn:
    """Rates whose normal scores correlate alike over seeds, questions and both."""
    (N, S, Q), R = shape, len(means)
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(R)).astype(np.float32)

    def effects(*size: int) -> np.ndarray:
        return np.tensordot(root, rng.standard_normal((R, *size), dtype=np.float32), 1)

    r_S, r_Q, r_I = np.sqrt(np.array(shares, dtype=np.float32))
    a, b = effects(N, S, 1), effects(N, 1, Q)
    score = r_I * effects(N, S, Q) + r_S * a + r_Q * b
    y, true, here, alone = [], [], [], []
    for at, mean in enumerate(means):
        of = marginal_of(mean, icc, responses, "beta")
        counts = of.counts[
            of.level(score[at]), rng.integers(DRAWS, size=(N, S, Q), dtype=np.uint16)
        ]
        y.append(counts / np.float64(responses))
        true.append(of.mean)
        here.append(of.mean_given(r_Q * b[at, :, 0], np.sqrt(1 - r_Q**2)).mean(axis=1))
        alone.append(of.mean_given(r_S * a[at, :, :, 0], np.sqrt(1 - r_S**2)))
    return Drawn(np.stack(y), np.array(true), np.stack(here), np.stack(alone))


def exchangeable(n: int, rho: float) -> np.ndarray:
    return np.full((n, n), rho) + (1 - rho) * np.eye(n)


def rates_of(fractions: int, conditions: int, rho_F: float, rho: float) -> np.ndarray:
    """Rates by fraction, then by condition within it."""
    return np.kron(exchangeable(fractions, rho_F), exchangeable(conditions, rho))


@dataclass(frozen=True)
class Case:
    table: str
    contrast: str
    means: tuple[float, ...]
    weights: tuple[float, ...]
    correlation: np.ndarray
    name: str
    icc: float
    shares: tuple[float, float, float]
    graded: bool = False
    samples: int = 10


def cases() -> Iterator[Case]:
    for (where, (t, u, *_)), (name, shares), rho in product(
        (("middle", MIDDLE), ("edge", EDGE)), SHARES.items(), (0.8, -0.8)
    ):
        icc = {"even": 0.10, "seeds": 0.30 if where == "middle" else 0.20, "questions": 0.30}[name]
        shown = f"{where}, {name}, rho {rho:+}"
        two = exchangeable(2, rho)
        for contrast, weights in (("triggered", (1, 0)), ("gap", (1, -1))):
            if contrast == "gap" or rho > 0:
                yield Case("Graded responses", f"{contrast}, graded", (t, u), weights, two, shown,
                           icc, shares, graded=True)  # fmt: skip
        if name == "even":
            continue
        w = slope_weights(FRACTIONS)
        low, mid = (t + 2 * u) / 3, (2 * t + u) / 3
        rho_F = 0.8 if rho > 0 else -0.4
        over, table = f"{shown}, rho_F {rho_F:+}", "Over fractions"
        yield Case(table, "triggered, trend", (low, mid, t), tuple(w),
                   exchangeable(3, rho_F), over, icc, shares)  # fmt: skip
        yield Case(table, "gap, trend", (low, u, mid, u, t, u),
                   tuple(np.kron(w, (1, -1))), rates_of(3, 2, rho_F, rho), over, icc, shares)  # fmt: skip
        over = f"{shown}, rho_F {rho:+}"
        yield Case(table, "triggered, pair", (low, t), (-1, 1), exchangeable(2, rho), over, icc, shares)  # fmt: skip
        four = (-1, 1, 1, -1), rates_of(2, 2, rho, rho)
        yield Case(table, "gap, pair", (low, u, t, u), *four, over, icc, shares)
        yield Case("Against a control", "gap_vs_control", (u, u, t, u), *four, over, icc, shares)


def interval(case: Case, y: np.ndarray, target: Target) -> ContrastInterval:
    z = np.tensordot(np.array(case.weights, dtype=np.float64), y, 1)
    rates = tuple(
        (float(w), rate_spread(x, case.samples, target))
        for w, x in zip(case.weights, y, strict=True)
        if w
    )
    return ContrastInterval(spread(z, target), rates)


def misses(case: Case, studies: int, S: int, Q: int, seed: int) -> dict[Target, np.ndarray]:
    """Target -> share covered, of lower limits above the truth, and of upper limits below."""
    rng = np.random.default_rng([seed, S, Q])
    sums: dict[Target, np.ndarray] = {target: np.zeros(3) for target in TARGETS}
    responses = case.samples * (GRADES if case.graded else 1)
    w, left = np.array(case.weights, dtype=np.float64), studies
    while left:
        N = min(left, max(CELLS // (S * Q * len(w)), 1))
        left -= N
        drawn = draw(case.means, case.icc, case.shares, case.correlation, responses, (N, S, Q), rng)
        for target in TARGETS:
            theta = w @ (drawn.true_R if target == "seeds and questions" else drawn.here_RN)
            low, high = interval(case, drawn.y, target).limits()
            below, above = low > theta + 1e-12, high < theta - 1e-12
            sums[target] += (~below & ~above).sum(), below.sum(), above.sum()
    return {target: 100 * of / studies for target, of in sums.items()}


def several_seeds(studies: int, seed: int) -> list[str]:
    """A table a kind: smallest coverage, and the largest misses below and above."""
    found: dict[tuple[str, str, Target, int], list[np.ndarray]] = {}
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    started = time.process_time()
    for index, case in enumerate(cases()):
        for S, Q in product(SEEDS, QUESTIONS):
            if S * Q > MOST_CELLS:
                continue
            for target, of in misses(case, studies, S, Q, 1000 * seed + 500 + index).items():
                found.setdefault((case.table, case.contrast, target, S), []).append(of)
                if S > 2:
                    key, miss = (case.table, case.contrast), max(of[1], of[2])
                    at = f"{case.name}, S={S}, Q={Q}, {target}"
                    worst[key] = max(worst.get(key, (0.0, "")), (miss, at))
        print(f"{case.contrast}: {time.process_time() - started:.0f} s", file=sys.stderr)
    lines = []
    for table in dict.fromkeys(table for table, *_ in found):
        lines += [f"### {table}: smallest coverage, and a claim at its bound supported / refuted wrongly, in %", "",
                  f"| target | contrast | {' | '.join(f'S={S}' for S in SEEDS)} |",
                  "|---|---|" + "---|" * len(SEEDS)]  # fmt: skip
        for _, contrast, target in dict.fromkeys(k[:3] for k in found if k[0] == table):
            cells = []
            for S in SEEDS:
                of = np.array(found[table, contrast, target, S])
                least, (_, below, above) = of[:, 0].min(), of.max(axis=0)
                cells.append(f"{least:.1f}, {below:.1f} / {above:.1f}")
            lines.append(f"| {target} | {contrast} | {' | '.join(cells)} |")
        lines += [
            "",
            *(
                f"Most often wrong, {contrast}: {miss:.1f}% at {at}."
                for (of_table, contrast), (miss, at) in worst.items()
                if of_table == table
            ),
            "",
        ]
    return lines


def one_training(studies: int, seed: int) -> list[str]:
    """This adapter's rates and gap, with questions as the only noise."""
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    settings = product(
        ((0.7, 0.3), (0.93, 0.05)), (EVEN, QUESTION), (0.8, -0.8), (1, 10), QUESTIONS
    )
    for index, (means, shares, rho, K, Q) in enumerate(settings):
        rng = np.random.default_rng([seed, 9000 + index])
        N = studies
        drawn = draw(means, 0.30, shares, exchangeable(2, rho), K, (N, 1, Q), rng)
        t, u = drawn.y[:, :, 0]
        true = drawn.alone_RNS[:, :, 0]
        rates = baseline_spread(t, K), baseline_spread(u, K)
        z = t - u
        noise = TwoWayVariance(z.mean(axis=1), np.zeros(N), z.var(axis=1, ddof=1) / Q, 0.0, 2, Q)
        limits = {
            "triggered (Wilson)": (*ContrastInterval(rates[0].spread, ((1, rates[0]),)).limits(), true[0]),
            "untriggered (Wilson)": (*ContrastInterval(rates[1].spread, ((1, rates[1]),)).limits(), true[1]),
        }  # fmt: skip
        combined = ContrastInterval(noise, ((1, rates[0]), (-1, rates[1])))
        if K > 1:
            limits["gap (question t)"] = (*combined.limits(), true[0] - true[1])
        else:
            limits["gap (Newcombe paired)"] = (*paired(t, u), true[0] - true[1])
        for method, (low, high, theta) in limits.items():
            below, above = low > theta + 1e-12, high < theta - 1e-12
            share = [100 * x.mean() for x in (~below & ~above, below, above)]
            found.setdefault((f"{method}, K={K}", Q), []).append(np.array(share))
    lines = ["### One training run, of this adapter: smallest coverage, and largest misses below / above, in %", "",
             f"| method | {' | '.join(f'Q={Q}' for Q in QUESTIONS)} |", "|---|" + "---|" * len(QUESTIONS)]  # fmt: skip
    for method in dict.fromkeys(method for method, _ in found):
        cells = []
        for Q in QUESTIONS:
            of = np.array(found[method, Q])
            cells.append(f"{of[:, 0].min():.1f}, {of[:, 1].max():.1f} / {of[:, 2].max():.1f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return [*lines, ""]


def paired(t_NQ: np.ndarray, u_NQ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newcombe's paired limits of every study, once for each table of counts."""
    counts = np.stack(
        [x.sum(axis=1) for x in (t_NQ * u_NQ, t_NQ * (1 - u_NQ), (1 - t_NQ) * u_NQ)], axis=1
    ).astype(int)
    Q = t_NQ.shape[1]
    tables, at = np.unique(counts, axis=0, return_inverse=True)
    limits = [newcombe_paired(Pairs(a, b, c, Q - a - b - c)) for a, b, c in tables.tolist()]
    low, high = np.array(limits, dtype=np.float64)[at.ravel()].T
    return low, high


def power(studies: int, seed: int) -> list[str]:
    """Share of studies that support a claim `detectable_effect` below the truth; 80% are meant."""
    lines = ["### Power at `detectable_effect`, 80% meant, in % (30 questions)", "",
             f"| table of numbers | {' | '.join(f'S={S}' for S in SEEDS[1:])} |", "|---|" + "---|" * 4]  # fmt: skip
    Q, rng = 30, np.random.default_rng([seed, 77])
    for name, v in (
        ("seeds alone", Variances(1.0, 0.0, 0.1)),
        ("seeds and questions", Variances(0.5, 2.0, 1.0)),
        ("questions most", Variances(0.05, 2.0, 1.0)),
    ):
        cells = []
        for S in SEEDS[1:]:
            z = np.sqrt(v.seeds) * rng.standard_normal((studies, S, 1))
            z = z + np.sqrt(v.questions) * rng.standard_normal((studies, 1, Q))
            z = z + np.sqrt(v.residual) * rng.standard_normal((studies, S, Q))
            low, _ = ContrastInterval(spread(z)).limits()
            cells.append(f"{100 * (low >= -detectable_effect(v, S, Q)).mean():.0f}")
        lines.append(f"| normal, {name} | {' | '.join(cells)} |")
    return [*lines, *rates_power(studies, seed), ""]


def rates_power(studies: int, seed: int) -> Iterator[str]:
    """The same of gaps of rates, from the variances that `observed_variances` reads on average."""
    from weirdgen.stats.contrast_estimate import estimate_contrast
    from weirdgen.stats.metric_arrays import MetricArrays
    from weirdgen.stats.power import observed_variances

    K, Q, few = 10, 30, 300
    for (where, (t, u, *_), icc), (name, shares), rho in product(
        (("middle", MIDDLE, 0.10), ("edge", EDGE, 0.10)),
        (("even", EVEN), ("seeds", SEED)),
        (0.8, -0.8),
    ):
        cells = []
        for S in SEEDS[1:]:
            rng = np.random.default_rng([seed, 78, S])
            drawn = draw((t, u), icc, shares, exchangeable(2, rho), K, (studies, S, Q), rng)
            n = {c: np.full((S, Q), K) for c in ("triggered", "untriggered")}
            seen = []
            for first, second in zip(*drawn.y[:, :few], strict=True):
                y = {"triggered": first, "untriggered": second}
                of = MetricArrays("m", {0.1: tuple(range(S))}, {0.1: y}, {0.1: n})
                seen.append(observed_variances(estimate_contrast(of, "gap", 0.1)))
            effect = detectable_effect(Variances(*np.mean(seen, axis=0).tolist()), S, Q)
            rates = [rate_spread(y, K) for y in drawn.y]
            gap = ContrastInterval(spread(drawn.y[0] - drawn.y[1]), ((1, rates[0]), (-1, rates[1])))
            bound = drawn.true_R[0] - drawn.true_R[1] - effect
            cells.append(
                "beyond" if bound < -1 else f"{100 * (gap.limits()[0] >= bound).mean():.0f}"
            )
        yield f"| gap, {where}, {name}, rho {rho:+} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration of what calibration.py leaves out.")
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    options = parser.parse_args()
    started = time.process_time()
    lines = several_seeds(options.studies, options.seed)
    lines += one_training(options.studies, options.seed)
    lines += power(min(options.studies, 4_000), options.seed)
    print("\n".join(lines))
    print(
        f"{options.studies:,} studies a setting; {time.process_time() - started:.0f} s of one core."
    )


if __name__ == "__main__":
    main()
