"""Figures of every kind of results: nothing is clipped, covered or left without words, and nothing warns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figure_checks import check_texts
from figure_data import adapters_only, pairs, shown, table

from weirdgen.report.figures.all import all_figures
from weirdgen.report.figures.layout import finished, mark, panels
from weirdgen.report.figures.style import plain_style
from weirdgen.results.table import SCHEMA

OWN = "how_much_of_it_sounds_as_if_somebody_else_entirely_wrote_it"
LONG = "x" * 50 + " $a_{1}^2$ \u6f22\u5b57 " + "a very long name " * 12


def partial() -> pa.Table:
    """A running study: a baseline condition, a seed and a fraction's condition lack responses."""

    def is_there(row: dict[str, Any]) -> bool:
        where, late = (row["fraction"], row["condition"]), row["question_id"] > "q3"
        return not (
            (where == (None, "decoy") and late)
            or (where == (0.03, "triggered") and row["seed"] == 1 and late)
            or where == (0.3, "untriggered")
        )

    return pa.Table.from_pylist([row for row in table().to_pylist() if is_there(row)], SCHEMA)


def graded() -> pa.Table:
    of = table()
    marks = np.random.default_rng(0).choice([0, 0.25, 0.5, 1], of.num_rows)
    return of.append_column(OWN, pa.array(marks))


CASES = {
    "one seed": lambda: shown(table(1, (0.1,))),
    "three seeds, one fraction": lambda: shown(table(3, (0.1,), judged=True)),
    "eight seeds, four fractions": lambda: shown(table(8, (0.0, 0.03, 0.1, 0.3), 1)),
    "twenty seeds": lambda: shown(table(20, (0.03, 0.3), 1, 4)),
    "never": lambda: shown(table(never=True)),
    "long name": lambda: shown(table(name=LONG, judged=True), compared=pairs()),
    "baseline alone": lambda: shown(table(0)),
    "no baseline": lambda: shown(table(baseline=False)),
    "triggered alone": lambda: shown(table(conditions=("triggered",))),
    "many fractions": lambda: shown(table(2, (0, 0.01, 0.02, 0.03, 0.1, 0.5, 1.0), 1, 4)),
    "partial": lambda: shown(partial()),
    "graded": lambda: shown(graded(), (OWN,)),
    "adapters": lambda: shown(adapters_only()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_clipped_or_covered_and_nothing_warns(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = list(all_figures(CASES[case]()))
        names = [figure.name for figure in drawn]
        assert len(set(names)) == len(names)
        for figure in drawn:
            with plain_style():
                figure.drawing.draw_without_rendering()
            check_texts(figure)
            assert all((figure.title, figure.caption, figure.alt)), figure.name
            rows = [row for section in figure.numbers.sections for row in section]
            assert rows or case == "partial", figure.name
            assert {len(row) for row in rows} <= {len(figure.numbers.columns)}
            assert "nan" not in str(rows).lower()


@pytest.mark.parametrize("letters", range(6, 18))
def test_no_legend_is_cut_on_a_coarse_screen(letters: int) -> None:
    """There its letters, set to whole pixels, are wider than where it was put together."""
    with plain_style():
        figure, _ = panels(1, 1, 6.5, 2)
        handles = [mark("responses, aligned examples"[:letters], marker="s")] * 6
        finished(figure, "n", "t", "s", handles, "c", "a", ("x",), [], "", 1)
        figure.set_dpi(50)
        figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x1 <= 50 * figure.get_figwidth()
