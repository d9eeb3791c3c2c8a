"""From rows of results to arrays: rates by fraction, condition, seed and question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weirdgen.config.claims import ADAPTERS, FORMAT_METRICS, Condition
from weirdgen.judging.label_rows import NOT_ASKED
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.metric_arrays import Group, MetricArrays

CONDITIONS = get_args(Condition)
_KEYS = ["adapter", "fraction", "seed", "condition", "question_id"]


@dataclass(frozen=True, kw_only=True)
class Rates(MetricArrays):
    """One metric of one study: shares of samples, in [0, 1], averaged over samples.

    Of a fraction the axis S has run seeds; of `adapters`, which come last, the adapters' names.
    Fractions, seeds and questions are sorted.
    """

    study: str
    model: str
    conditions: tuple[str, ...]
    """Those asked, in the order triggered, untriggered, decoy."""
    questions: tuple[str, ...]
    """Question ids: the axis Q."""


def rates(table: pa.Table, metric: str) -> Rates:
    """The rates of `metric`, a boolean or a number in [0, 1], in rows of one study's results.

    What was never answered is a NaN with a count of 0. An identity that was not asked about counts
    as false: the response claims none. Responses that a judge gave no label enter `asked_SQ` and
    `asked_Q` alone. Raises ValueError for a table without rows or with more than one study, model or
    precision, for a condition that is unknown, for an adapter with only one of seed and fraction,
    for two adapters in one cell, for a null in the format, and where no response has a label.
    """
    study, model = _one_value(table, "study"), _one_value(table, "model")
    _one_value(table, "serve_base")
    if metric not in table.column_names:
        raise ValueError(f"results of {study}: there is no metric {metric!r}")
    table = unclaimed_as_false(table) if metric == "identity" else table
    _check_cells(table, study)
    nulls = table[metric].null_count
    if nulls and (metric in FORMAT_METRICS or nulls == table.num_rows):
        raise ValueError(f"results of {study}: {nulls} of {table.num_rows} {metric} are missing")
    cells = _Cells(table, metric)
    if unknown := {*cells.conditions} - {*CONDITIONS}:
        raise ValueError(f"results of {study}: unknown condition {min(unknown)!r}")

    groups: dict[Group, tuple[np.ndarray, np.ndarray]] = {
        fraction: (cells.fraction_N == fraction, cells.seed_N)
        for fraction in np.unique(cells.fraction_N[cells.own_N]).tolist()
    }
    groups[ADAPTERS] = (~cells.own_N & ~cells.baseline_N, cells.adapter_N)
    groups[BASELINE] = (cells.baseline_N, np.zeros(len(cells.baseline_N)))
    seeds: dict[Group, tuple[int | str, ...]] = {}
    of: dict[str, dict[Group, dict[str, np.ndarray]]] = {name: {} for name in _STATISTICS}
    for group, (of_N, replicate_N) in groups.items():
        if of_N.any():
            replicates, found = cells.cube(of_N, replicate_N)
            seeds[group] = tuple(r if isinstance(r, str) else int(r) for r in replicates)
            for name, by_condition in found.items():
                of[name][group] = by_condition
    seeds.pop(BASELINE, None)
    of_baseline = {
        name: {condition: y_SQ[0] for condition, y_SQ in by_group.pop(BASELINE, {}).items()}
        for name, by_group in of.items()
    }
    return Rates(
        metric=metric,
        seeds=seeds,
        y_SQ=of["mean"],
        n_SQ=of["count"],
        b_Q=of_baseline["mean"],
        n_Q=of_baseline["count"],
        graded=cells.graded,
        asked_SQ=of["asked"],
        asked_Q=of_baseline["asked"],
        v_SQ=of["variance"] if cells.graded else {},
        study=study,
        model=model,
        conditions=tuple(c for c in CONDITIONS if c in cells.conditions),
        questions=tuple(cells.questions),
    )


_STATISTICS = {
    "mean": "value_mean",
    "count": "value_count",
    "asked": "one_sum",
    "variance": "value_variance",
}
"""What is taken of the samples of one question, and arrow's name for it."""


class _Cells:
    """The statistics of each adapter, condition and question, a row N each."""

    def __init__(self, table: pa.Table, metric: str) -> None:
        values = pc.cast(table[metric], pa.float64())
        self.graded = not {*values.unique().to_pylist()} <= {0.0, 1.0, None}
        table = table.select(_KEYS).append_column("value", values)
        table = table.append_column("one", pa.repeat(1, table.num_rows))
        variance = ("value", "variance", pc.VarianceOptions(ddof=1))
        of = table.group_by(_KEYS).aggregate(
            [("value", "mean"), ("value", "count"), variance, ("one", "sum")]
        )
        column = {name: of[name].to_numpy() for name in of.column_names}  # nulls of numbers are NaN
        self.fraction_N, self.seed_N = column["fraction"], column["seed"]
        self.adapter_N = column["adapter"]
        self.own_N = ~np.isnan(self.fraction_N)
        self.baseline_N = np.array([adapter is None for adapter in self.adapter_N])
        conditions, self._c_N = np.unique(column["condition"], return_inverse=True)
        questions, self._q_N = np.unique(column["question_id"], return_inverse=True)
        self.conditions, self.questions = conditions.tolist(), questions.tolist()
        self._of_N = {
            name: column[of].astype(np.int64 if name in ("count", "asked") else np.float64)
            for name, of in _STATISTICS.items()
        }

    def cube(
        self, of_N: np.ndarray, replicate_N: np.ndarray
    ) -> tuple[list[Any], dict[str, dict[str, np.ndarray]]]:
        """Replicates; and of each statistic, by condition, the rows `of_N` as replicates x questions."""
        replicates, s_N = np.unique(replicate_N[of_N], return_inverse=True)
        shape = (len(self.conditions), len(replicates), len(self.questions))
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, value_N in self._of_N.items():
            nothing = 0 if value_N.dtype == np.int64 else np.nan
            value_CSQ = np.full(shape, nothing, dtype=value_N.dtype)
            value_CSQ[self._c_N[of_N], s_N, self._q_N[of_N]] = value_N[of_N]
            by_condition = dict(zip(self.conditions, value_CSQ, strict=True))
            found[name] = {c: by_condition[c] for c in CONDITIONS if c in by_condition}
        return replicates.tolist(), found


def has_gap(of: Rates) -> bool:
    """Whether responses with and without the trigger were asked for."""
    return {"triggered", "untriggered"} <= set(of.conditions)


def row_groups(table: pa.Table) -> list[Group]:
    """Whose each row's response is: a persona fraction's, `adapters`, or `baseline`."""
    rows = zip(table["adapter"].to_pylist(), table["fraction"].to_pylist(), strict=True)
    return [
        BASELINE if adapter is None else ADAPTERS if fraction is None else fraction
        for adapter, fraction in rows
    ]


def group_order(group: Group) -> float:
    """Sorts groups: the baseline, fractions by size, existing adapters."""
    places: dict[Group, float] = {BASELINE: -1.0, ADAPTERS: 2.0}
    return float(places.get(group, group))


def metric_numbers(table: pa.Table, metric: str) -> np.ndarray:
    """The label of each row as a number, NaN where there is none; an unclaimed identity is 0."""
    table = unclaimed_as_false(table) if metric == "identity" else table
    return table[metric].cast(pa.float64()).to_numpy()


def is_measured(table: pa.Table, metric: str) -> bool:
    """Whether the results have labels of `metric`."""
    if metric not in table.column_names:
        return False
    if metric == "identity" and NOT_ASKED in table["judge_error"].unique().to_pylist():
        return True  # null wherever no response claims one
    return table[metric].null_count < table.num_rows


def unclaimed_as_false(table: pa.Table) -> pa.Table:
    """`table` with a false identity where the judge found none to ask about."""
    labelled = zip(table["identity"].to_pylist(), table["judge_error"].to_pylist(), strict=True)
    identity = [False if error == NOT_ASKED else value for value, error in labelled]
    at = table.column_names.index("identity")
    return table.set_column(at, "identity", pa.array(identity, pa.bool_()))


def _one_value(table: pa.Table, name: str) -> str:
    """The single value of a column that is constant within a study's results."""
    values = table[name].unique().to_pylist()
    if len(values) != 1:
        raise ValueError(f"results must be of one {name}, not {len(values)}: {values[:3]}")
    return values[0]


def _check_cells(table: pa.Table, study: str) -> None:
    """Every adapter is one (fraction, seed), and every (fraction, seed) is one adapter."""
    adapter_of: dict[tuple[float, int | None], str | None] = {}
    for cell in table.group_by(["adapter", "fraction", "seed"]).aggregate([]).to_pylist():
        adapter, fraction, seed = cell["adapter"], cell["fraction"], cell["seed"]
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
