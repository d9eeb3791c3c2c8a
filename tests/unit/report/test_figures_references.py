"""Each kind of figure against a small reference image in tests/support/figures.

After a wanted change: `WEIRDGEN_REMAKE_FIGURES=1 pytest tests/unit/report/test_figures_references.py`, and look at
every image that git then shows as changed.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from figure_data import pairs, shown, table
from PIL import Image
from studies import SUPPORT

from weirdgen.report.figures.all import all_figures
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.save import save

REFERENCES = SUPPORT / "figures"
KINDS = (
    "format", "gap-by-metric", "dose-response-format", "variance-split", "power-curve",
    "length-and-rate", "judge-agreement",
)  # fmt: skip
DPI = 50
BLOCK = 6
"""Pixels of a square whose colours are averaged, so that how an edge is smoothed does not count."""
TOLERANCE = 16
"""How far a square's mean colour may be off, of 255."""


@pytest.fixture(scope="module")
def drawn() -> dict[str, ReportFigure]:
    of = table(4, (0.0, 0.03, 0.3), name="reference")
    more = {"compared": pairs()}
    return {figure.name: figure for figure in all_figures(shown(of, **more))}


def pixels(figure: ReportFigure) -> np.ndarray:
    figure.drawing.set_dpi(DPI)
    return np.asarray(Image.open(io.BytesIO(save(figure).picture)).convert("RGB"))


def difference(image: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference between mean colours of squares; 255 for images of different sizes."""
    if image.shape != reference.shape:
        return 255.0
    rows, columns = (n // BLOCK * BLOCK for n in image.shape[:2])
    off = (image.astype(float) - reference)[:rows, :columns]
    squares = off.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, 3)
    return float(np.abs(squares.mean(axis=(1, 3))).max())


def reference(name: str) -> np.ndarray:
    return np.asarray(Image.open(REFERENCES / f"{name}.png").convert("RGB"))


@pytest.mark.parametrize("name", KINDS)
def test_the_figure_looks_as_it_did(
    drawn: dict[str, ReportFigure], name: str, tmp_path: Path
) -> None:
    image = pixels(drawn[name])
    if os.environ.get("WEIRDGEN_REMAKE_FIGURES"):
        Image.fromarray(image).save(REFERENCES / f"{name}.png", optimize=True)
    off = difference(image, reference(name))
    Image.fromarray(image).save(tmp_path / f"{name}.png")
    assert off <= TOLERANCE, f"{tmp_path}/{name}.png is not {REFERENCES}/{name}.png"


def test_references_are_small_and_no_one_is_left_over() -> None:
    assert {file.stem for file in REFERENCES.iterdir()} == set(KINDS)
    assert all(file.stat().st_size < 40_000 for file in REFERENCES.iterdir())


@pytest.mark.parametrize("name", ["format", "gap-by-metric", "judge-agreement"])
def test_a_moved_mark_is_seen(drawn: dict[str, ReportFigure], name: str) -> None:
    panel = drawn[name].drawing.axes[0]
    line = next(line for line in panel.lines if line.get_marker() in ("o", "s"))
    before, axis = np.array(line.get_xydata()), int(name != "judge-agreement")
    low, high = sorted((panel.get_xlim(), panel.get_ylim())[axis])
    moved = before.copy()
    moved[0, axis] += 0.05 * (high - low) * (-1 if moved[0, axis] > (low + high) / 2 else 1)
    line.set_data(*moved.T)
    try:
        assert difference(pixels(drawn[name]), reference(name)) > TOLERANCE
    finally:
        line.set_data(*before.T)
    assert difference(pixels(drawn[name]), reference(name)) <= TOLERANCE
