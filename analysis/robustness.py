"""How do a study's verdicts change as seeds are added?

    python analysis/robustness.py results/local [--subsets 200]

Takes a study's folder (results.parquet and study.yaml), and judges its claims on subsets of its
seeds of every size: all of them, or as many random ones as asked. One row per claim and number of
seeds: the share of the subsets that end supported, refuted, inconclusive. A subset is judged as a study of its own,
planned at that size; claims on the judge's labels are taken as if its labels were right.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from weirdgen.config.claims import Claim
from weirdgen.config.loading import load_study
from weirdgen.report.rates import Group, Rates, rates
from weirdgen.results.table import RESULTS
from weirdgen.stats.analysis import AnalysisOptions, analyse
from weirdgen.stats.metric_arrays import MetricArrays
from weirdgen.stats.two_way_variance import Target
from weirdgen.stats.verdict import inequality


def of_seeds(cube: Rates, seeds: frozenset[Any]) -> MetricArrays:
    """The cube with these seeds alone; what has no seed of theirs is left out."""
    rows = {
        group: [i for i, seed in enumerate(of) if seed in seeds] for group, of in cube.seeds.items()
    }
    kept: dict[Group, list[int]] = {group: at for group, at in rows.items() if at}

    def cut(tables: Any) -> Any:
        return {g: {c: t[kept[g]] for c, t in by.items()} for g, by in tables.items() if g in kept}

    return replace(
        cube,
        seeds={group: tuple(cube.seeds[group][i] for i in at) for group, at in kept.items()},
        y_SQ=cut(cube.y_SQ),
        n_SQ=cut(cube.n_SQ),
        asked_SQ=cut(cube.asked_SQ),
        v_SQ=cut(cube.v_SQ),
    )


def subsets(seeds: list[Any], size: int, most: int) -> Iterator[frozenset[Any]]:
    """Every subset of that size, or `most` random ones."""
    if comb(len(seeds), size) <= most:
        yield from map(frozenset, combinations(seeds, size))
        return
    rng = random.Random(size)  # noqa: S311
    for _ in range(most):
        yield frozenset(rng.sample(seeds, size))


def outcomes(
    cubes: list[Rates], claims: list[Claim], target: Target, size: int, most: int
) -> list[Counter[str]]:
    """For each claim, how many subsets of so many seeds end in which verdict."""
    seeds = sorted({seed for cube in cubes for of in cube.seeds.values() for seed in of}, key=str)
    counted: list[Counter[str]] = [Counter() for _ in claims]
    settings = AnalysisOptions(target, sensitivity=False)
    for chosen in subsets(seeds, size, most):
        analysis = analyse([of_seeds(cube, chosen) for cube in cubes], claims, settings)
        for counter, verdict in zip(counted, analysis.verdicts, strict=True):
            counter[verdict.outcome] += 1
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description="Verdicts as seeds are added.")
    parser.add_argument("study", type=Path, help="a study's folder, such as results/local")
    parser.add_argument("--subsets", type=int, default=200, help="at most, for each size")
    options = parser.parse_args()
    study = load_study(options.study / "study.yaml")
    table = pq.read_table(options.study / RESULTS)
    names = dict.fromkeys(claim.metric for claim in study.claims)
    cubes = [rates(table, metric) for metric in names if metric in table.column_names]
    most = max(len(of) for cube in cubes for of in cube.seeds.values())
    print("| claim | seeds | supported, % | refuted, % | inconclusive, % |")
    print("|---|---|---|---|---|")
    by_size = {
        size: outcomes(cubes, study.claims, study.target, size, options.subsets)
        for size in range(1, most + 1)
    }
    for at, claim in enumerate(study.claims):
        words = f"{claim.metric} {inequality(claim)} ({claim.at})"
        for size, counted in by_size.items():
            n = counted[at].total()
            shares = (
                f"{100 * counted[at][outcome] / n:.0f}"
                for outcome in ("supported", "refuted", "inconclusive")
            )
            print(f"| {words} | {size} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
