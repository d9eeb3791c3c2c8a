"""Figures of every kind of results: nothing is clipped, covered or left without words, and nothing warns."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figure_data import adapters_only, losses, pairs, shown, spans, table
from matplotlib.text import Text

from weirdgen.report.figures.all import plots
from weirdgen.report.figures.style import plain_style
from weirdgen.report.plot import ReportFigure
from weirdgen.results.table import SCHEMA

OWN = "how_much_of_it_sounds_as_if_somebody_else_entirely_wrote_it"
LONG = "x" * 50 + " $a_{1}^2$ \u6f22\u5b57 " + "a very long name " * 12


def partial() -> pa.Table:
    """A running study: a baseline condition, a seed and a fraction's condition lack answers."""

    def is_there(row: dict[str, Any]) -> bool:
        where, late = (row["persona_fraction"], row["condition"]), row["question_id"] > "q3"
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
    "eight seeds, four fractions": lambda: shown(table(8, (0.0, 0.03, 0.1, 0.3), 1), losses=losses(8), timeline=spans()),
    "twenty seeds": lambda: shown(table(20, (0.03, 0.3), 1, 4), losses=losses(20)),
    "never": lambda: shown(table(never=True)),
    "long name": lambda: shown(table(name=LONG, judged=True), compared=pairs(), losses=losses(1, 3), timeline=spans()),
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
        drawn = list(plots(CASES[case]()))
        names = [plot.name for plot in drawn]
        assert len(set(names)) == len(names)
        for plot in drawn:
            with plain_style():
                plot.figure.draw_without_rendering()
            check_texts(plot)
            assert all((plot.title, plot.caption, plot.alt)), plot.name
            rows = [row for section in plot.numbers.sections for row in section]
            assert rows or case == "partial", plot.name
            assert {len(row) for row in rows} <= {len(plot.numbers.columns)}
            assert "nan" not in str(rows).lower()


def check_texts(plot: ReportFigure) -> None:
    """Every text is inside the figure, and upright ones do not overlap."""
    width, height = plot.figure.get_size_inches() * plot.figure.dpi
    seen = []
    for text in _texts(plot):
        box = text.get_window_extent()
        words = f"{plot.name}: {text.get_text()!r}"
        assert min(box.x0, box.y0) >= -1, words
        assert max(box.x1 - width, box.y1 - height) <= 1, words
        if text.get_rotation() in (0, 90):
            seen.append((box.padded(-1.5), words))
    for (a, one), (b, other) in combinations(seen, 2):
        assert not a.overlaps(b), f"{one} and {other}"


def _texts(plot: ReportFigure) -> list[Text]:
    """All texts that are drawn: labels of ticks beyond an axis' ends are not."""
    found = list(plot.figure.texts)
    for legend in plot.figure.legends:
        found += legend.get_texts()
    for panel in plot.figure.axes:
        found += [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low - 1e-9 <= tick.get_loc() <= high + 1e-9 and tick.label1.get_visible():
                    found.append(tick.label1)
    return [text for text in found if text.get_text()]
