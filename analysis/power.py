"""What sees smaller effects: more seeds, more questions, or more samples?

    python analysis/power.py results/local [--metric format] [--contrast gap]

Takes the variances of seeds, questions, and what is left, from a study's results, and prints the
smallest distance from its bound, in points, at which a claim is supported in 80% of studies: a row
for each number of seeds and samples, a column for each number of questions. More samples shrink
only the part of what is left that is sampling; the rest, seeds x questions, they cannot.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq

from weirdgen.config.claims import CONTRASTS, ContrastName
from weirdgen.report.rates import rates
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import group_label
from weirdgen.stats.power import detectable_effect, observed_variances
from weirdgen.stats.variance_components import components

SEEDS = (3, 5, 8, 10, 20, 40)
QUESTIONS = (15, 30, 60, 100, 200)
SAMPLES = (1, 5, 10, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seeds against questions against samples.")
    parser.add_argument("study", type=Path, help="a study's folder, such as results/local")
    parser.add_argument("--metric", default="format")
    parser.add_argument("--contrast", default="gap", choices=get_args(ContrastName))
    options = parser.parse_args()
    of = rates(pq.read_table(options.study / "results.parquet"), options.metric)
    for group in of.seeds:
        try:
            measured = estimate_contrast(of, options.contrast, group)
            seen = observed_variances(measured)
        except ValueError as error:
            sys.exit(f"{options.study}: {error}")
        K = measured.samples
        rows = np.array([of.seeds[group].index(seed) for seed in measured.seeds])
        at = rows[:, None], measured.questions[None, :]
        conditions = CONTRASTS[options.contrast].conditions
        sampled = [
            components(of.y_SQ[group][c][at], of.n_SQ[group][c][at]).sample for c in conditions
        ]
        per_answer = sum(part.estimate for part in sampled if part is not None)
        interaction = max(seen.residual - per_answer / K, 0.0) if all(sampled) else 0.0
        if not all(sampled):
            per_answer = (
                seen.residual * K
            )  # one sample: interaction and sampling cannot be told apart
        sds = (100 * variance**0.5 for variance in seen)
        print(
            f"\n{options.metric} {options.contrast} at {group_label(group)}, standard deviations: ",
            end="",
        )
        print("seeds {:.1f}, questions {:.1f}, what is left {:.1f} points.\n".format(*sds))
        print("| seeds | samples |", *(f"{Q} questions |" for Q in QUESTIONS))
        print("|---|---|" + "---|" * len(QUESTIONS))
        for S in SEEDS:
            for samples in SAMPLES:
                variances = seen._replace(residual=interaction + per_answer / samples)
                effects = (100 * detectable_effect(variances, S, Q) for Q in QUESTIONS)
                print(f"| {S} | {samples} |", *(f"{effect:.0f} |" for effect in effects))


if __name__ == "__main__":
    main()
