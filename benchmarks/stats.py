"""What the statistics cost: the crossed bootstrap against a plain loop, and a whole report.

    OMP_NUM_THREADS=1 python benchmarks/stats.py

Prints seconds of processor time, the fastest of several tries, taken in turns; their ratio; and the
most memory that this process has held.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np

from weirdgen.config.claims import Claim
from weirdgen.stats.analysis import analyse
from weirdgen.stats.bootstrap import crossed_means
from weirdgen.stats.metric_arrays import Group, MetricArrays

RESAMPLES, S, Q = 10_000, 100, 200
TRIES = 7
FRACTIONS: tuple[Group, ...] = (0.0, 0.03, 0.1, 0.2, 0.3, 0.6)
RATES = {"triggered": 0.9, "untriggered": 0.03, "decoy": 0.2}


def plain_loop(z_SQ: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """One resample after another: draw seeds and questions, cross them, average."""
    theta_B = np.empty(resamples)
    for b in range(resamples):
        s, q = rng.integers(S, size=S), rng.integers(Q, size=Q)
        theta_B[b] = z_SQ[np.ix_(s, q)].mean()
    return theta_B


def seconds(*works: Callable[[], object]) -> list[float]:
    """Processor seconds of each, the fastest of TRIES, in turns."""
    fastest = [float("inf")] * len(works)
    for _ in range(TRIES):
        for at, work in enumerate(works):
            started = time.process_time()
            work()
            fastest[at] = min(fastest[at], time.process_time() - started)
    return fastest


def study(metric: str, rng: np.random.Generator) -> MetricArrays:
    """20 seeds x 6 fractions x 3 conditions x 30 questions x 10 samples, and a baseline."""
    shape, K = (20, 30), 10
    y = {f: {c: rng.binomial(K, p, shape) / K for c, p in RATES.items()} for f in FRACTIONS}
    n = {f: {c: np.full(shape, K) for c in RATES} for f in FRACTIONS}
    b = {c: rng.binomial(50, 0.1, 30) / 50 for c in RATES}
    seeds = {f: tuple(range(20)) for f in FRACTIONS}
    return MetricArrays(metric, seeds, y, n, b, {c: np.full(30, 50) for c in RATES})


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    rng = np.random.default_rng(0)
    z_SQ = rng.random((S, Q))
    before = peak_megabytes()
    once = crossed_means(z_SQ[None], RESAMPLES, rng)
    after = peak_megabytes()
    loop, matrix = seconds(
        lambda: plain_loop(z_SQ, RESAMPLES, rng), lambda: crossed_means(z_SQ[None], RESAMPLES, rng)
    )
    cubes = [study(metric, rng) for metric in ("format", "persona", "identity")]
    claims = [
        Claim(metric="format", contrast="gap", at_least=0.85, at="all"),
        Claim(metric="format", contrast="untriggered", at_most=0.05, at="all"),
        Claim(metric="persona", contrast="gap_improvement", at_least=0.5, at="any"),
        Claim(metric="persona", contrast="untriggered_excess", at_most=0.0, margin=0.1),
    ]
    (report,) = seconds(lambda: analyse(cubes, claims))
    n_rows = len(analyse(cubes, claims).estimates)
    print("| what | figure |\n|---|---|")
    print(f"| {RESAMPLES:,} crossed resamples of {S} x {Q}, plain loop | {loop:.2f} s |")
    print(f"| the same by counts and one matrix product | {matrix:.3f} s |")
    print(f"| ratio | {loop / matrix:.0f} |")
    print(f"| memory that it added | {after - before:.0f} MB ({once.nbytes / 1e6:.1f} MB result) |")
    print(f"| 20 seeds x 6 fractions x 3 conditions x 30 questions x 10 samples x 3 metrics, "
          f"{n_rows:,} rows | {report:.1f} s |")  # fmt: skip
    print(f"| peak memory of all of it | {peak_megabytes():.0f} MB |")


if __name__ == "__main__":
    main()
