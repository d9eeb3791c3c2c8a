"""The report's figures: what they draw is what their tables say, and equal results give equal files."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import tiny_results
from figure_data import adapters_only, pairs, shown, table
from matplotlib.collections import LineCollection
from PIL import Image

from weirdgen.report.figures.all import all_figures
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.lettering import legible, text_width, wrapped
from weirdgen.report.figures.save import numbers_csv, save
from weirdgen.report.table import MISSING, ReportTable

# Numbers.


def drawn_marks(figure: ReportFigure, axis: int = 1, decimals: int = 1) -> list[str]:
    """The coordinates of all marks; the baseline's are the same in every panel of rates."""
    found, baseline = [], set()
    for panel in figure.drawing.axes:
        for line in panel.lines:
            if line.get_marker() not in ("None", None, "", "_", "|"):
                points = np.asarray(line.get_xydata())
                if figure.name == "format" and line.get_marker() == "D":
                    baseline.add(tuple(points[0]))
                else:
                    found += points[:, axis].tolist()
    found += [point[axis] for point in baseline]
    return sorted(f"{round(value, decimals) + 0.0:.{decimals}f}" for value in found)


def drawn_bars(figure: ReportFigure) -> list[tuple[str, ...]]:
    """Both ends of all intervals."""
    found = []
    for panel in figure.drawing.axes:
        for bars in panel.collections:
            if isinstance(bars, LineCollection):
                found += [np.sort(segment[:, 1]).tolist() for segment in bars.get_segments()]
    return sorted(tuple(f"{round(value, 1) + 0.0:.1f}" for value in ends) for ends in found)


def cells(figure: ReportFigure, *columns: str) -> Iterator[tuple[str, ...]]:
    at = [figure.numbers.columns.index(column) for column in columns]
    for section in figure.numbers.sections:
        for row in section:
            yield tuple(row[i].replace("+", "") for i in at)


@pytest.fixture(scope="module")
def whole() -> dict[str, ReportFigure]:
    of = table(4, (0.0, 0.03, 0.3), judged=True)
    more = {"compared": pairs()}
    return {figure.name: figure for figure in all_figures(shown(of, **more))}


def test_figures_come_in_reading_order(whole: dict[str, ReportFigure]) -> None:
    metrics = ["format", "persona", "identity"]
    doses = [f"dose-response-{metric}" for metric in metrics]
    assert [*whole] == [
        *metrics, "gap-by-metric", *doses, "variance-split", "power-curve",
        "length-and-rate", "judge-agreement",
    ]  # fmt: skip
    assert all("-" in name for name in whole if name not in metrics), "no metric's name has a dash"


VALUES = {
    "format": ("% or points", ("low", "high")),
    "gap-by-metric": ("gap, points", ("low", "high")),
    "dose-response-persona": ("%", ("low", "high")),
    "variance-split": ("SD, points", ("low", "high")),
    "length-and-rate": ("%", ("low", "high")),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_table_holds_what_is_drawn(whole: dict[str, ReportFigure], name: str) -> None:
    figure, (value, limits) = whole[name], VALUES[name]
    assert drawn_marks(figure) == sorted(cell for (cell,) in cells(figure, value))
    told = [ends for ends in cells(figure, *limits) if MISSING not in ends]
    if name == "gap-by-metric":
        told += [
            e
            for e in cells(figure, "low, these questions", "high, these questions")
            if MISSING not in e
        ]
    assert drawn_bars(figure) == sorted(told)
    assert told


def test_the_table_of_the_other_figures_is_drawn_too(whole: dict[str, ReportFigure]) -> None:
    agreement = whole["judge-agreement"]
    kappas = [kappa for (kappa,) in cells(agreement, "kappa")]
    assert MISSING in kappas, "one label for all"
    assert drawn_marks(agreement, 0, 2) == sorted(k if k != MISSING else "0.00" for k in kappas)
    power = whole["power-curve"]
    curves = [
        line for panel in power.drawing.axes for line in panel.lines if len(line.get_xydata()) > 2
    ]
    told = [*cells(power, "3 seeds, %", "8 seeds, %", "20 seeds, %")]
    drawn = [[line.get_ydata()[n - 3] for n in (3, 8, 20)] for line in curves]
    assert sorted(told) == sorted(tuple(f"{v:.1f}" for v in row) for row in drawn)


def test_power_is_that_of_the_detectable_effect(whole: dict[str, ReportFigure]) -> None:
    from weirdgen.report.rates import rates
    from weirdgen.stats.contrast_estimate import estimate_contrast
    from weirdgen.stats.power import detectable_effect, observed_variances

    of = rates(table(4, (0.0, 0.03, 0.3), judged=True), "format")
    variances = observed_variances(estimate_contrast(of, "gap", 0.3))
    rows = {row[:2]: row for section in whole["power-curve"].numbers.sections for row in section}
    row = dict(zip(whole["power-curve"].numbers.columns, rows["gap of format", "0.3"], strict=True))
    power = float(row["12 seeds, %"]) / 100
    assert detectable_effect(variances, 12, 6, power) == pytest.approx(0.1, abs=2e-3)


def test_power_is_about_the_claims_where_there_are_any() -> None:
    claims = [
        {"metric": "format", "contrast": "gap", "at_least": 0.5, "margin": 0.1, "at": "all"},
        {"metric": "format", "contrast": "decoy", "at_most": 0.3, "at": {"fraction": 0.6}},
    ]
    of = tiny_results.report_data(tiny_results.results(), tiny_results.study(claims))
    (figure,) = (figure for figure in all_figures(of) if figure.name == "power-curve")
    about = [*cells(figure, "about", "fraction", "distance, points", "seeds")]
    # The gap is 0.75, the decoy's rate 0.5.
    assert about == [
        ("format gap >= 0.4", "0.6", "35.0", "3"),
        ("format decoy <= 0.3", "0.6", "20.0", "3"),
    ]
    assert [panel.get_title() for panel in figure.drawing.axes] == [
        "format gap >= 0.4",
        "format decoy <= 0.3",
    ]


def test_one_seed_has_no_interval() -> None:
    drawn = {figure.name: figure for figure in all_figures(shown(table(1, (0.1,))))}
    assert not {"variance-split", "power-curve"} & drawn.keys()
    for name in ("format", "gap-by-metric"):
        assert not drawn_bars(drawn[name])
    assert "One seed: no interval." in drawn["gap-by-metric"].caption
    assert not any(name.startswith("dose") for name in drawn)


def test_lengths_are_words_where_tokens_are_not_told() -> None:
    of = adapters_only()
    drawn = {figure.name: figure for figure in all_figures(shown(of))}
    assert "words" in drawn["length-and-rate"].drawing.axes[-1].get_xlabel()


def test_the_parts_by_length_hold_every_labelled_answer_but_the_controls(
    whole: dict[str, ReportFigure],
) -> None:
    counts = [*cells(whole["length-and-rate"], "metric", "condition", "of", "responses")]
    for side, answers in (("baseline", 12), ("fine-tuned", 2 * 4 * 12)):
        assert sum(int(n) for *key, n in counts if key == ["persona", "decoy", side]) == answers
    assert "but the controls" in whole["length-and-rate"].caption


# Files.


def _files(of: pa.Table) -> dict[str, bytes]:
    drawn = [
        figure for figure in all_figures(shown(of)) if figure.name in ("format", "gap-by-metric")
    ]
    return {name: content for figure in drawn for name, content in save(figure).files.items()}


def test_equal_results_give_equal_files_whatever_the_users_settings() -> None:
    of = table(2, (0.3,), 1, 3)
    shuffled = of.take(np.random.default_rng(1).permutation(of.num_rows))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "font.family": "serif"}):
        other = _files(shuffled)
    files = _files(of)
    assert files == other
    assert {"format.png", "format.pdf", "format.csv", "gap-by-metric.png"} <= files.keys()
    for name, content in files.items():
        assert not any(mark in content for mark in (b"CreationDate", b"Matplotlib", b"tIME")), name


def test_the_picture_is_the_file_without_its_caption_and_the_csv_its_numbers(
    whole: dict[str, ReportFigure],
) -> None:
    figure = whole["gap-by-metric"]
    files, picture = save(figure)
    alone, captioned = (
        np.asarray(Image.open(io.BytesIO(content)))
        for content in (picture, files[f"{figure.name}.png"])
    )
    assert (captioned[: len(alone)] == alone).all()
    assert len(captioned) > len(alone)
    rows = [*csv.reader(io.StringIO(files[f"{figure.name}.csv"].decode()))]
    told = [
        ["" if cell == MISSING else cell for cell in row]
        for s in figure.numbers.sections
        for row in s
    ]
    assert rows == [list(figure.numbers.columns), *told]


def test_numbers_are_numbers_to_other_programs_and_no_cell_is_a_formula() -> None:
    texts = ["=1+1", "@SUM(1)", "+1-1|x", "-2+3", "\t=1", "\uff1d1", "plain", "1-2"]
    rows = (("1,234.5", "-3.0", "+60.0", MISSING), *((text, text, text, text) for text in texts))
    read = [
        *csv.reader(io.StringIO(numbers_csv(ReportTable("t", ("=a", "b", "c", "d"), (rows,), ""))))
    ]
    assert read[0] == ["'=a", "b", "c", "d"]
    assert read[1] == ["1234.5", "-3.0", "+60.0", ""]
    for text, row in zip(texts, read[2:], strict=True):
        assert set(row) == {text if text in ("plain", "1-2") else f"'{text}"}


@pytest.mark.parametrize(
    "name", ["$\\frac{1}", "a\x1b[31m\nb", "\u6f22\u5b57 \U0001f600", "_" * 200, "<b>&amp;%"]
)
def test_foreign_text_is_drawn_as_it_is(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = next(all_figures(shown(table(1, (0.1,), name=name))))
        save(figure)
    said = "".join(text.get_text() for text in figure.drawing.texts)
    assert legible(name).replace(" ", "")[:60] in said.replace("\n", "").replace(" ", "")


def test_text_fits_its_lines() -> None:
    text = "one two three " * 20 + "x" * 300 + " " + "part_of_a_name_" * 10
    lines = wrapped(text, 2.0, 9)
    assert all(text_width(line, 9) <= 2.0 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    first, second = wrapped(text, 2.0, 9, 2)
    assert second.endswith("...")
    assert first == lines[0]
    assert any(line.endswith("_") for line in lines)


def test_a_part_that_is_not_there_has_no_figure() -> None:
    of = shown(table(conditions=("triggered",)))
    names = {figure.name for figure in all_figures(replace(of, compared=[]))}
    absent = {"gap-by-metric", "judge-agreement", "power-curve"}
    assert not names & absent
