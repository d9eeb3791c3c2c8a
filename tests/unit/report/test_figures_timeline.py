"""The timeline's figure: lanes, rows and bars, and that it is drawn as its table says."""

from __future__ import annotations

import csv
import io
import itertools
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from figure_checks import check_texts
from hostile import HOSTILE
from matplotlib.collections import PolyCollection
from spans import T, span
from tiny_results import report_data, results, study

from weirdgen.report.all_tables import all_tables
from weirdgen.report.figures.all import all_figures
from weirdgen.report.figures.lanes import LaneRows, arrange
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.save import save
from weirdgen.report.figures.style import plain_style
from weirdgen.report.figures.timeline import _LOOKS, timeline_figure
from weirdgen.report.page import page
from weirdgen.storage.timeline import ENGINE_START, Span
from weirdgen.text import FORMULA_STARTS

PIXELS = 1000
KINDS = ("model", "offline_judge", "train", ENGINE_START, "aligned", "responses")


def drawn(spans: list[Span]) -> ReportFigure:
    figure = timeline_figure(spans, "tiny, org/tiny")
    assert figure is not None
    return figure


def lanes(spans: list[Span], pixels: int = PIXELS) -> dict[str, LaneRows]:
    return {lane.name: lane for lane in arrange(spans, pixels).lanes}


def kinds(lane: LaneRows) -> list[list[str]]:
    return [[bar.kind for bar in row] for row in lane.rows]


def random_spans(seed: int, n: int) -> list[Span]:
    """Anything anywhere: three nodes, GPUs together and alone, three runs, some of no length."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        start = rng.choice((0, 5000, 1e6)) + rng.uniform(0, 900)
        found.append(
            span(
                start, start + rng.choice((0, 0.01, 3, 200)) * rng.random(),
                kind=rng.choice(KINDS), gpu=rng.choice(("", "0", "1", "0,1", "10")),
                node=rng.choice("abc"), engine=rng.choice((None, 1, 2)), ok=rng.random() < 0.9,
                together=rng.choice((1, 8)),
            )
        )  # fmt: skip
    return found


def test_a_lane_for_each_gpu_and_one_for_the_cpus() -> None:
    spans = [span(0, 1, "model", gpu=""), *(span(2, 3, gpu=gpu) for gpu in ("10", "9", "2,9"))]
    assert [*lanes(spans)] == ["GPU 2", "GPU 9", "GPU 10", "CPU"]
    ids = [span(0, 1, gpu="GPU-8932f937"), span(0, 1, gpu="GPU-07aa"), span(0, 1, gpu="3")]
    assert [*lanes(ids)] == ["GPU 0", "GPU 1", "GPU 2"]


def test_nodes_are_numbered_as_they_appear_and_no_host_is_named() -> None:
    spans = [
        span(5, 6, node="alpha.example.org"),
        span(1, 2, node="zeta.example.org"),
        span(0, 1, "model", gpu="", node="zeta.example.org"),
    ]
    assert [*lanes(spans)] == ["node 1 GPU 0", "node 1 CPU", "node 2 GPU 0"]
    figure = drawn(spans)
    told = str((figure.title, figure.caption, figure.alt, figure.numbers))
    shown = [
        text.get_text() for text in figure.drawing.findobj(match=lambda x: hasattr(x, "get_text"))
    ]
    assert "example" not in told + str(shown)
    assert "host-a" not in str(drawn([span(0, 1)]).numbers)


def test_what_never_overlaps_shares_a_row() -> None:
    turns = [span(0, 10, "engine", engine=1), span(10, 20, "train"), span(20, 30, engine=1)]
    assert kinds(lanes(turns)["GPU 0"]) == [["engine", "train", "responses"]]


def test_what_overlaps_by_less_than_a_pixel_does_not() -> None:
    """A thousand pixels of a second each."""
    turns = [
        span(0, 400.9, "engine", engine=1),
        span(400, 700.9, "train"),
        span(700, 1000, engine=1),
    ]
    (row,) = lanes(turns)["GPU 0"].rows
    assert [(round(bar.start * 60, 1), round(bar.end * 60, 1)) for bar in row] == [
        (0, 400.9), (400.9, 700.9), (700.9, 1000),
    ]  # fmt: skip
    turns[1] = turns[1]._replace(started=turns[1].started - 0.2)
    assert len(lanes(turns)["GPU 0"].rows) == 2


def test_engines_and_trainings_on_one_gpu_are_rows_apart() -> None:
    spans = [
        span(0, 10, "engine", engine=1), span(11, 30, "aligned", engine=1),
        span(30, 100, "train"), span(30, 90, "train"), span(95, 140, "train"),
        span(40, 60, engine=1), span(120, 150, engine=1), span(30, 35, "offline_judge"),
    ]  # fmt: skip
    assert kinds(lanes(spans)["GPU 0"]) == [
        ["offline_judge"],
        ["engine", "aligned", "responses", "responses"],
        ["train", "train"],
        ["train"],
    ]


def test_an_engine_keeps_its_row_while_another_works_between_its_bars() -> None:
    spans = [
        span(0, 10, "engine", engine=1), span(5, 15, "engine", engine=2),
        span(20, 30, engine=1), span(32, 40, engine=2), span(50, 60, engine=1),
        span(2000, 2010, "engine", engine=2),
    ]  # fmt: skip
    rows = lanes(spans)["GPU 0"].rows
    assert [[(bar.run, bar.engine) for bar in row] for row in rows] == [
        [(0, 1), (0, 1), (0, 1), (1, 2)],
        [(0, 2), (0, 2)],
    ]


def test_narrow_neighbours_of_a_kind_are_one_bar() -> None:
    """A thousand pixels of a second each: less than one parts neighbours, six make a bar wide."""
    narrow = [span(i, i + 0.8) for i in range(0, 500)]
    wide = [span(i, i + 9.5) for i in range(600, 700, 10)]
    end = span(999, 1000, "train")
    (row,) = lanes([*narrow, *wide, end])["GPU 0"].rows
    assert [(round(bar.start * 60, 1), round(bar.end * 60, 1), bar.steps) for bar in row] == [
        (0, 499.8, 500), *((i, i + 9.5, 1) for i in range(600, 700, 10)), (999, 1000, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "last", [span(2.1, 3, "train"), span(2.1, 3, ok=False), span(4, 5)], ids=lambda s: s.what
)
def test_another_kind_a_failure_and_a_gap_end_a_bar(last: Span) -> None:
    beside = span(0, 1000, "train", gpu="1")
    (row,) = lanes([span(0, 1), span(1.1, 2), last, beside])["GPU 0"].rows
    assert [bar.steps for bar in row] == [2, 1]


def test_runs_are_drawn_one_behind_the_other_and_no_bar_crosses_a_seam() -> None:
    spans = [
        span(0, 60, "train"), span(60, 61), span(10_000, 10_001), span(10_001, 10_600, "train"),
        span(90_000, 90_060),
    ]  # fmt: skip
    chart = arrange(spans, 100)
    assert chart.seams == pytest.approx([61 / 60, 661 / 60])
    assert chart.minutes == pytest.approx(721 / 60)
    (row,) = chart.lanes[0].rows
    assert [round(60 * bar.start) for bar in row] == [0, 60, 61, 62, 661]
    assert "cut out" in drawn(spans).caption
    assert "cut out" not in drawn(spans[:2]).caption


@pytest.mark.parametrize("seed", range(5))
def test_every_span_is_in_a_bar_and_no_bars_of_a_row_overlap(seed: int) -> None:
    spans = random_spans(seed, 300)
    chart = arrange(spans, PIXELS)
    bars = [bar for lane in chart.lanes for row in lane.rows for bar in row]
    assert sum(bar.steps for bar in bars) == sum(of.together * len(of.lanes) for of in spans)
    assert sum(bar.failed for bar in bars) == sum((not of.ok) * len(of.lanes) for of in spans)
    for lane in chart.lanes:
        for row in lane.rows:
            assert all(a.end <= b.start for a, b in itertools.pairwise(row))
            assert all(0 <= bar.start <= bar.end <= chart.minutes + 1e-9 for bar in row)


# The figure.


def boxes(figure: ReportFigure) -> Iterator[tuple[float, float, float, float]]:
    """left, right, top, bottom of each drawn bar."""
    (panel,) = figure.drawing.axes
    for bars in panel.collections:
        if isinstance(bars, PolyCollection):
            for path in bars.get_paths():
                (x0, y0), (x1, y1) = np.min(path.vertices, axis=0), np.max(path.vertices, axis=0)
                yield x0, x1, y0, y1


@pytest.mark.parametrize("seed", range(3))
def test_no_drawn_bar_lies_on_another(seed: int) -> None:
    narrow = [span(2e6 + i / 50, 2e6 + (i + 1) / 50, KINDS[i % 2], "7") for i in range(20)]
    spans = [*random_spans(seed, 200), *narrow]
    found = sorted(boxes(drawn(spans)), key=lambda box: (box[2], box[0]))
    by_row: dict[float, list[tuple[float, ...]]] = {}
    for box in found:
        by_row.setdefault(round(box[2], 6), []).append(box)
    for row in by_row.values():
        assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(row))
    tops = sorted(by_row)
    bottoms = [max(box[3] for box in by_row[top]) for top in tops]
    assert all(bottom < top for bottom, top in zip(bottoms, tops[1:], strict=False))


def test_the_table_holds_what_is_drawn() -> None:
    spans = [
        span(0, 60, "engine", engine=1), span(60, 240, "train", together=8),
        span(270, 300, "train", together=8, ok=False), span(0, 6, "model", gpu=""),
    ]  # fmt: skip
    figure = drawn(spans)
    files = save(figure).files
    read = [*csv.DictReader(io.StringIO(files["run-timeline.csv"].decode()))]
    columns = ("where", "kind", "steps", "failed", "start, min", "end, min", "idle there, %")
    assert [tuple(row[name] for name in columns) for row in read] == [
        ("GPU 0", "engine start", "1", "0", "0.000", "1.000", "10.0"),
        ("GPU 0", "training", "8", "0", "1.000", "4.000", "10.0"),
        ("GPU 0", "training", "8", "1", "4.500", "5.000", "10.0"),
        ("CPU", "model", "1", "0", "0.000", "0.100", ""),
    ]
    assert sorted((round(x0, 3), round(x1, 3)) for x0, x1, _, _ in boxes(figure)) == sorted(
        (float(row["start, min"]), float(row["end, min"])) for row in read
    )
    (panel,) = figure.drawing.axes
    assert {text.get_text() for text in panel.texts} == {
        "10.0% idle",
        "8 training runs",
        "engine start",
    }
    (failed,) = (line for line in panel.lines if line.get_marker() == "X")
    assert failed.get_xydata() == pytest.approx(np.array([[4.75, failed.get_ydata()[0]]]))
    assert "GPU 0 10.0%" in figure.alt
    assert "1 failed" in figure.alt


CASES = {
    "nothing took time": lambda: [span(0, 0, "model", gpu="")],
    "one GPU, a hundred responses": lambda: [span(12 * i, 12 * i + 11.7, engine=1) for i in range(100)],
    "a CPU alone": lambda: [span(0, 9, "model", gpu=""), *(span(5, 90 + i, "train", gpu="") for i in range(3))],
    "64 training runs at once": lambda: [span(i, 300 + i, "train", gpu="") for i in range(64)],
    "8 GPUs, 4,000 spans": lambda: [
        span(8 * (i // 8), 8 * (i // 8) + 7.5, gpu=str(i % 8), ok=i % 501 != 500) for i in range(4000)
    ],
    "64 GPUs": lambda: [
        of for n in range(64) for i in range(3)
        for of in [span(100 * i, 100 * i + 99, "train", node=f"n{n // 8}", gpu=str(n % 8))]
    ],
    "64 GPUs, one of them full": lambda: [
        span(0, 99, "train", gpu=str(max(i - 6, 0))) for i in range(70)
    ],
    "anything": lambda: random_spans(9, 500),
    "fifty years": lambda: [span(-T, 0), span(1, 2)],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_clipped_or_covered_and_nothing_warns(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(CASES[case]())
        with plain_style():
            figure.drawing.draw_without_rendering()
        check_texts(figure)
        save(figure)
    assert all(0 < inches < 25 for inches in figure.drawing.get_size_inches())
    assert sum(map(len, figure.numbers.sections)) <= 1500


def test_hostile_names_change_nothing_of_the_page() -> None:
    shown = report_data(results(), study())

    def made(names: list[str]) -> tuple[str, str]:
        spans = [
            span(i, i + 1, what=name, node=f"{name}{i}", gpu=name.replace(",", ";"))
            for i, name in enumerate(names)
        ]
        figure = drawn(spans)
        saved = save(figure)
        return page(shown, all_tables(shown), [(figure, saved.picture)]), saved.files[
            "run-timeline.csv"
        ].decode()

    hostile = [text for text in HOSTILE.values() if text.strip(", ")]
    html, table = made(hostile)
    assert html.count("<") == made(["plain"] * len(hostile))[0].count("<")
    assert [text for text in hostile if "<" in text and text in html] == []
    cells = [row["first step"] for row in csv.DictReader(io.StringIO(table))]
    assert len(cells) == len(hostile)
    assert [cell for cell in cells if cell[:1] in FORMULA_STARTS or not cell.isprintable()] == []


def test_it_is_the_last_figure() -> None:
    shown = report_data(results(), study())
    names = [figure.name for figure in all_figures(replace(shown, timeline=[span(0, 5)]))]
    assert names == [*(figure.name for figure in all_figures(shown)), "run-timeline"]


def test_a_stage_without_a_look_of_its_own_is_drawn_too() -> None:
    spans = [span(0, 60, "new_stage", "0"), span(30, 90, "train", "0")]
    figure = drawn(spans)
    assert kinds(lanes(spans)["GPU 0"]) == [["new_stage"], ["train"]]
    assert "training 1, new stage 1" in figure.alt


@pytest.mark.parametrize("dpi", [50, 100, 200])
def test_no_legend_is_cut_at_any_resolution(dpi: int) -> None:
    figure = drawn([span(9 * i, 9 * i + 9, kind, ok=i > 0) for i, kind in enumerate(_LOOKS)])
    figure.drawing.set_dpi(dpi)
    with plain_style():
        figure.drawing.draw_without_rendering()
    width, _ = figure.drawing.get_size_inches() * dpi
    assert all(legend.get_window_extent().x1 <= width for legend in figure.drawing.legends)
