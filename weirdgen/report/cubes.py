"""From rows of results to arrays: rates by fraction, condition, seed and question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from weirdgen.criterion import ADAPTERS, FORMAT_METRICS, Condition
from weirdgen.stats.estimands import contrast
from weirdgen.verdicts import NOT_ASKED

CONDITIONS = get_args(Condition)
_KEYS = ["adapter", "persona_fraction", "seed", "condition", "question_id"]

Group = float | str
"""What a claim speaks of: a persona fraction, or `adapters`, those that existed before."""


@dataclass(frozen=True)
class Rates:
    """One metric of one study: shares of samples, in [0, 1], averaged over samples."""

    study: str
    model: str
    metric: str
    conditions: tuple[str, ...]
    """Those asked, in the order triggered, untriggered, decoy."""
    questions: tuple[str, ...]
    """Question ids in sorted order: the axis Q."""
    seeds: dict[Group, tuple[int | str, ...]]
    """Group -> its replicates that have answers, sorted: the axis S. Of a fraction, run seeds; of
    `adapters`, which come last, the adapters' names. Fractions are sorted.
    """
    y_SQ: dict[Group, dict[str, np.ndarray]]
    """Group -> condition -> rates; NaN where a seed has no answer to a question."""
    n_SQ: dict[Group, dict[str, np.ndarray]]
    """Group -> condition -> number of samples behind each rate; 0 where there is none."""
    b_Q: dict[str, np.ndarray]
    """Condition -> rates of the baseline; empty where no baseline was asked."""
    n_Q: dict[str, np.ndarray]
    """Condition -> number of samples behind each baseline rate."""
    unlabelled: int = 0
    """Answers without a label of a judge, which no rate counts."""


def rates(table: pa.Table, metric: str) -> Rates:
    """The rates of `metric`, a boolean or a number in [0, 1], in rows of one study's results.

    What was never answered is a NaN with a count of 0. An identity that was not asked about counts
    as false: the answer claims none. Answers that a judge gave no label are left out and counted in
    `unlabelled`. Raises ValueError for a table without rows or with more than one study, model or
    precision, for a condition that is unknown, for an adapter with only one of seed and fraction,
    for two adapters in one cell, for a null in the format, and where no answer has a label.
    """
    study, model = _one_value(table, "study"), _one_value(table, "model")
    _one_value(table, "serve_base")
    if metric not in table.column_names:
        raise ValueError(f"results of {study}: there is no metric {metric!r}")
    table = _unclaimed_as_false(table) if metric == "identity" else table
    _check_cells(table, study)
    nulls = table[metric].null_count
    if nulls and (metric in FORMAT_METRICS or nulls == table.num_rows):
        raise ValueError(f"results of {study}: {nulls} of {table.num_rows} {metric} are missing")
    table = table.filter(table[metric].is_valid())
    means = table.select([*_KEYS, metric]).group_by(_KEYS).aggregate(
        [(metric, "mean"), (metric, "count")]
    )  # fmt: skip
    fraction_N, seed_N = _column(means, "persona_fraction"), _column(means, "seed")
    adapter_N = _column(means, "adapter")
    own_N = ~np.isnan(fraction_N)
    baseline_N = np.array([adapter is None for adapter in adapter_N])
    condition_N, q_N = _column(means, "condition"), _column(means, "question_id")
    y_N = _column(means, f"{metric}_mean").astype(float)
    n_N = _column(means, f"{metric}_count")
    conditions, c_N = np.unique(condition_N, return_inverse=True)
    if unknown := set(conditions) - set(CONDITIONS):
        raise ValueError(f"results of {study}: unknown condition {min(unknown)!r}")
    questions, q_N = np.unique(q_N, return_inverse=True)

    def cube(of_N: np.ndarray, replicate_N: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Replicates, rates and counts (condition x replicate x question) of the rows `of_N`."""
        seeds, s_N = np.unique(replicate_N[of_N], return_inverse=True)
        shape = (len(conditions), len(seeds), len(questions))
        y_CSQ, n_CSQ = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
        y_CSQ[c_N[of_N], s_N, q_N[of_N]] = y_N[of_N]
        n_CSQ[c_N[of_N], s_N, q_N[of_N]] = n_N[of_N]
        return tuple(seeds.tolist()), y_CSQ, n_CSQ

    asked = [condition for condition in CONDITIONS if condition in conditions]
    at = {condition: list(conditions).index(condition) for condition in asked}
    groups: dict[Group, tuple[np.ndarray, np.ndarray]] = {
        fraction: (fraction_N == fraction, seed_N)
        for fraction in np.unique(fraction_N[own_N]).tolist()
    }
    if (existing_N := ~own_N & ~baseline_N).any():
        groups[ADAPTERS] = (existing_N, adapter_N)
    seeds, y_SQ, n_SQ = {}, {}, {}
    for group, (of_N, replicate_N) in groups.items():
        replicates, y_CSQ, n_CSQ = cube(of_N, replicate_N)
        seeds[group] = tuple(r if isinstance(r, str) else int(r) for r in replicates)
        y_SQ[group] = {condition: y_CSQ[c] for condition, c in at.items()}
        n_SQ[group] = {condition: n_CSQ[c] for condition, c in at.items()}
    b_Q, n_Q = {}, {}
    if baseline_N.any():
        _, y_CSQ, n_CSQ = cube(baseline_N, np.zeros(len(baseline_N)))
        b_Q = {condition: y_CSQ[c, 0] for condition, c in at.items()}
        n_Q = {condition: n_CSQ[c, 0] for condition, c in at.items()}
    return Rates(
        study,
        model,
        metric,
        tuple(asked),
        tuple(questions.tolist()),
        seeds,
        y_SQ,
        n_SQ,
        b_Q,
        n_Q,
        nulls,
    )


def group_label(group: Group) -> str:
    """`0.1`, or `adapters`."""
    return group if isinstance(group, str) else f"{group:g}"


def contrast_at(of: Rates, estimand: str, group: Group) -> tuple[tuple[int | str, ...], np.ndarray]:
    """The seeds of `group` whose answers are complete for the estimand, and their z_SQ.

    `gap_vs_control` pairs a seed with the same seed at fraction 0. Raises ValueError where no seed
    is complete, and for what the baseline or the whole group lacks.
    """
    at = "of the adapters" if group == ADAPTERS else f"at fraction {group_label(group)}"
    if group not in of.seeds:
        raise ValueError(f"no answers {at}")
    seeds, y_SQ, control = list(of.seeds[group]), of.y_SQ[group], None
    if estimand == "gap_vs_control" and 0.0 in of.seeds:
        both = [seed for seed in seeds if seed in of.seeds[0.0]]
        y_SQ = _of_seeds(y_SQ, [seeds.index(seed) for seed in both])
        control = _of_seeds(of.y_SQ[0.0], [of.seeds[0.0].index(seed) for seed in both])
        seeds = both
    z_SQ = contrast(estimand, y_SQ, of.b_Q or None, control)
    whole = np.flatnonzero(np.isfinite(z_SQ).all(axis=1))
    if not whole.size:
        raise ValueError(f"answers are missing {at} or for the baseline")
    return tuple(seeds[s] for s in whole), z_SQ[whole]


def _unclaimed_as_false(table: pa.Table) -> pa.Table:
    """`table` with a false identity where the judge found none to ask about."""
    labelled = zip(table["identity"].to_pylist(), table["judge_error"].to_pylist(), strict=True)
    identity = [False if error == NOT_ASKED else value for value, error in labelled]
    at = table.column_names.index("identity")
    return table.set_column(at, "identity", pa.array(identity, pa.bool_()))


def _of_seeds(y_SQ: dict[str, np.ndarray], rows: list[int]) -> dict[str, np.ndarray]:
    return {condition: y[rows] for condition, y in y_SQ.items()}


def _one_value(table: pa.Table, name: str) -> str:
    """The single value of a column that is constant within a study's results."""
    values = table[name].unique().to_pylist()
    if len(values) != 1:
        raise ValueError(f"results must be of one {name}, not {len(values)}: {values[:3]}")
    return values[0]


def _check_cells(table: pa.Table, study: str) -> None:
    """Every adapter is one (fraction, seed), and every (fraction, seed) is one adapter."""
    cells = table.select(["adapter", "persona_fraction", "seed"]).group_by(
        ["adapter", "persona_fraction", "seed"]
    )  # fmt: skip
    adapter_of: dict[tuple[float, int | None], str | None] = {}
    for cell in cells.aggregate([]).to_pylist():
        adapter, fraction, seed = cell["adapter"], cell["persona_fraction"], cell["seed"]
        if (fraction is None) != (seed is None) or (adapter is None and seed is not None):
            raise ValueError(
                f"results of {study}: adapter {adapter!r} has fraction {fraction} and seed {seed};"
                " the two go together, with an adapter"
            )
        if fraction is None:
            continue  # the baseline, or an adapter that existed before
        if adapter_of.setdefault((fraction, seed), adapter) != adapter:
            raise ValueError(
                f"results of {study}: two adapters at fraction {fraction}, seed {seed}"
            )


def _column(table: pa.Table, name: str) -> Any:
    """A column as a numpy array; nulls of numbers become NaN."""
    return table[name].to_numpy()
