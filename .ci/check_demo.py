"""Fails unless the demo's results show the effect: a gap of 50 points that the baseline lacks."""

from __future__ import annotations

import sys

import pyarrow.parquet as pq

from weirdgen.report.rates import rates
from weirdgen.stats.contrast_estimate import estimate_contrast


def main() -> None:
    of = rates(pq.read_table(sys.argv[1]), "format")
    (fraction,) = of.seeds
    measured = estimate_contrast(of, "gap", fraction)
    seeds, gap = measured.seeds, measured.estimate
    baseline = max(rate_Q.mean() for rate_Q in of.b_Q.values())
    print(f"demo: gap {gap:.3f} over {len(seeds)} seeds, baseline at most {baseline:.3f}")
    if len(seeds) < 2 or gap < 0.5 or baseline > 0.05:
        sys.exit("demo: expected at least 2 seeds, a gap of 0.5 and a baseline of at most 0.05")


if __name__ == "__main__":
    main()
