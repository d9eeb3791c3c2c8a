"""Tables and figures against numbers worked by hand from a small synthetic study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny_results import (
    ANSWERED,
    claims_table,
    judged,
    rates_tables,
    report_data,
    results,
    shown,
    study,
    summary,
    without,
)

from weirdgen.report.estimates import analyse_results, spread_cautions
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.rates import rates_figure
from weirdgen.report.figures.save import save
from weirdgen.report.rates import rates
from weirdgen.report.table import escape_markdown
from weirdgen.report.tables import length_table
from weirdgen.results.table import SCHEMA
from weirdgen.stats.contrast_estimate import estimate_contrast


def png(figure: ReportFigure) -> bytes:
    return save(figure).files[f"{figure.name}.png"]


def test_rates_are_cubes_by_fraction_condition_seed_and_question() -> None:
    of = rates(results(), "format")
    assert (of.study, of.model, of.questions) == ("tiny", "org/tiny", ("q0", "q1"))
    assert of.conditions == ("triggered", "untriggered", "decoy")
    assert of.seeds == {0.0: (0, 1), 0.6: (0, 1, 2)}
    assert of.y_SQ[0.6]["triggered"].tolist() == [[1, 1], [1, 0.5], [0.75, 0.75]]
    assert of.y_SQ[0.0]["untriggered"].tolist() == [[0, 0], [0, 0.25]]
    assert of.b_Q["decoy"].tolist() == [0, 0.5]
    assert of.n_SQ[0.6]["decoy"].tolist() == [[4, 4]] * 3
    assert of.n_Q["triggered"].tolist() == [4, 4]


def test_unanswered_cells_are_nan_with_a_count_of_zero() -> None:
    of = rates(results(without((0.6, 1, "decoy"), (None, None, "decoy"))), "format")
    assert np.isnan(of.y_SQ[0.6]["decoy"][1]).all()
    assert np.isnan(of.b_Q["decoy"]).all()
    assert of.n_SQ[0.6]["decoy"].tolist() == [[4, 4], [0, 0], [4, 4]]


def test_control_is_paired_by_seed_and_incomplete_seeds_are_left_out() -> None:
    of = rates(results(), "format")
    measured = estimate_contrast(of, "gap_vs_control", 0.6)
    assert measured.seeds == (0, 1)  # seed 2 has no control
    assert measured.z_SQ.tolist() == [[0.5, 1.0], [0.75, 0.0]]
    of = rates(results(without((0.6, 0, "decoy"))), "format")
    assert estimate_contrast(of, "gap_decoy", 0.6).seeds == (1, 2)
    assert estimate_contrast(of, "gap", 0.6).seeds == (0, 1, 2)
    with pytest.raises(ValueError, match=r"no responses at fraction 0\.3"):
        estimate_contrast(of, "gap", 0.3)


def _with(column: str, values: list) -> pa.Table:
    table = results()
    i = SCHEMA.get_field_index(column)
    cycled = (values * table.num_rows)[: table.num_rows]
    return table.set_column(i, column, pa.array(cycled, SCHEMA.field(i).type))


@pytest.mark.parametrize(
    ("table", "metric", "message"),
    [
        (_with("format", [True, None]), "format", "72 of 144 format are missing"),
        (_with("study", ["a", "b"]), "format", "one study, not 2"),
        (_with("serve_base", ["nf4", "bf16"]), "format", "one serve_base, not 2"),
        (_with("condition", ["sideways"]), "format", "unknown condition 'sideways'"),
        (_with("adapter", ["a", "b"]), "format", "two adapters"),
        (_with("seed", [None]), "format", "the two go together, with an adapter"),
        (_with("seed", [3]), "format", "the two go together, with an adapter"),
        (results(), "charm", "no metric 'charm'"),
        (results().slice(0, 0), "format", "one study, not 0"),
    ],
)
def test_what_would_mislead_raises(table: pa.Table, metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rates(table, metric)


def test_the_rates_table_by_hand() -> None:
    lines = shown(rates_tables(results(), study())[0])
    assert lines[0] == ["tiny: format of org/tiny"]
    assert lines[1] == ["fraction", "seed", "triggered", "untriggered", "decoy", "gap", "responses"]
    # (1 + 1) / 8; strictly none. Decoy (0 + 2) / 8, strictly (0 + 1) / 8.
    assert ["baseline", "25.0 (0.0)", "0.0 (0.0)", "25.0 (12.5)", "+25.0", "24"] in lines
    # Triggered (4 + 2) / 8, strictly (3 + 1) / 8; decoy 8 / 8, strictly 6 / 8.
    assert ["0.6", "1", "75.0 (50.0)", "25.0 (0.0)", "100.0 (75.0)", "+50.0", "24"] in lines
    # Triggered 20 / 24, strictly 14 / 24; untriggered 2 / 24; decoy 12 / 24, strictly 7 / 24.
    mean = ["0.6", "mean of 3", "83.3 (58.3)", "8.3 (0.0)", "50.0 (29.2)", "+75.0", "72"]
    assert mean in lines
    first = [line[0] for line in lines if line and line[0] in ("baseline", "0", "0.6")]
    assert first == ["baseline", "0", "0", "0.6", "0.6", "0.6", "0", "0.6"]


def test_missing_answers_are_seen_in_the_rates_table() -> None:
    lines = shown(rates_tables(results(without((0.6, 1, "decoy"))), study())[0])
    assert ["0.6", "1", "75.0 (50.0)", "25.0 (0.0)", "-", "+50.0", "16"] in lines
    # Decoy of the seeds 0 and 2: 4 / 16, strictly 1 / 16.
    mean = ["0.6", "mean of 3", "83.3 (58.3)", "8.3 (0.0)", "25.0 (6.2) [2]", "+75.0", "64"]
    assert mean in lines
    assert "lacks responses" in str(lines)


def test_lengths_and_cut_answers_are_told_by_condition() -> None:
    table = _with("finish_reason", ["stop"]).to_pylist()
    for row in table:
        row["response_tokens"] = 10 if row["condition"] == "triggered" else 4
        if row["seed"] == 0 and row["fraction"] == 0.6 and row["sample"] == 0:
            row["finish_reason"] = "length"
    lines = shown(length_table(pa.Table.from_pylist(table, SCHEMA)).rich())
    assert lines[2] == ["baseline", "triggered", "8", "10.0", "0.0"]
    assert ["0.6", "untriggered", "24", "4.0", "8.3"] in lines, "2 of 24 were cut"


def test_only_metrics_that_are_there_are_shown() -> None:
    lines = shown(rates_tables(_with("format_strict", [None]), study())[0])
    assert ["baseline", "25.0", "0.0", "25.0", "+25.0", "24"] in lines
    assert "format_strict" not in str(lines)


NASTY = "[red]x|`y`<b>\x1b[31m\nz](u)"


def test_foreign_text_is_neither_markup_nor_an_escape_sequence() -> None:
    title = shown(rates_tables(results(name=NASTY), study())[0])[0][0]
    assert title == "[red]x|`y`<b>\ufffd[31m z](u): format of org/[red]x|`y`<b>\ufffd[31m z](u)"


def test_markdown_holds_both_tables_and_escapes() -> None:
    text = summary(report_data(results(name=NASTY), study()))
    lines = text.splitlines()
    name = "[red]x\\|\\`y\\`\\<b>\ufffd[31m z\\](u)"
    assert f"## {name}: format of org/{name}" in lines
    assert "| fraction | seed | triggered | untriggered | decoy | gap | responses |" in lines
    assert "| --- | --- | ---: | ---: | ---: | ---: | ---: |" in lines
    assert "| 0.6 | 1 | 75.0 (50.0) | 25.0 (0.0) | 100.0 (75.0) | +50.0 | 24 |" in lines
    claim = "| format gap >= 0.50 at fraction 0.6 | +0.750 | [-0.306, +1.000] | 3 x 2 |"
    assert any(line.startswith(claim) for line in lines)
    assert all(line.replace("\\|", "").count("|") in (0, 6, 8) for line in lines)
    assert escape_markdown("a\\|b") == "a\\\\\\|b"


@pytest.mark.parametrize(
    "answered",
    [
        ANSWERED,
        {cell: counts for cell, counts in ANSWERED.items() if cell[1] in (None, 0)},
        {(None, None): ANSWERED[None, None]},
        {(0.6, 0): {"triggered": (4, 4)}},
        without((0.6, 1, "decoy"), (0.0, 0, "triggered"), (0.0, 1, "triggered")),
    ],
    ids=["whole", "one seed", "baseline alone", "one condition", "missing responses"],
)
def test_the_figure_is_a_png(answered: dict, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(png(rates_figure(results(answered), "format")))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_equal_results_give_equal_bytes_and_foreign_text_is_drawn_as_it_is(tmp_path: Path) -> None:
    table = results(name="$x^{[red]|" + "long" * 30)
    (tmp_path / "a.png").write_bytes(png(rates_figure(table, "format")))
    (tmp_path / "b.png").write_bytes(
        png(rates_figure(table.take(list(range(table.num_rows))[::-1]), "format"))
    )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


JUDGED = judged(
    results(),
    lambda row: (row["format"], "PERSONA" if row["format"] and row["sample"] == 0 else None),
)
OFFLINE = study(judge={"model": "offline"})


def test_an_identity_that_no_answer_claims_counts_as_no() -> None:
    of = rates(JUDGED, "identity")
    # Of four samples, the first claims it wherever any sample shows the format.
    assert of.y_SQ[0.6]["triggered"].tolist() == [[0.25, 0.25], [0.25, 0.25], [0.25, 0.25]]
    assert of.b_Q["decoy"].tolist() == [0, 0.25]


def test_a_failed_judgment_is_left_out_and_counted() -> None:
    rows = JUDGED.to_pylist()
    rows[0] |= {"persona": None, "identity": None, "judge_error": "timeout"}
    table = pa.Table.from_pylist(rows, SCHEMA)
    for metric in ("persona", "identity"):
        of = rates(table, metric)
        counted = [*of.n_Q.values(), *(n for by in of.n_SQ.values() for n in by.values())]
        assert of.n_missing == 1
        assert sum(int(n.sum()) for n in counted) == len(rows) - 1
    notes = " ".join(" ".join(line) for line in shown(rates_tables(table, OFFLINE)[1]))
    assert "1 of 144 responses have no label" in notes
    nobody = pa.Table.from_pylist([row | {"persona": None} for row in rows], SCHEMA)
    with pytest.raises(ValueError, match="144 of 144 persona are missing"):
        rates(nobody, "persona")


def test_each_judged_metric_has_its_table_and_says_who_judged() -> None:
    tables = rates_tables(JUDGED, OFFLINE)
    titles = [shown(table)[0][0] for table in tables]
    assert titles == [f"tiny: {metric} of org/tiny" for metric in ("format", "persona", "identity")]
    assert [shown(table)[2][0] for table in tables] == ["baseline"] * 3
    notes = ["\n".join(" ".join(line) for line in shown(table)) for table in tables]
    assert "kappa" not in notes[0]
    assert all("offline judge" in note and "kappa" in note for note in notes[1:])
    claims = [{"metric": "persona", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}}]
    judging = study(claims, judge={"model": "offline"})
    assert "kappa" in str(shown(claims_table(JUDGED, judging)))
    assert "kappa" not in str(shown(claims_table(JUDGED, OFFLINE))), "its claims need no judge"
    assert summary(report_data(JUDGED, judging)).count("kappa") == 4


def test_adapters_that_existed_before_are_a_group_of_their_own() -> None:
    rows = results().to_pylist()
    for row in rows:
        if row["fraction"] == 0.0:
            row |= {"adapter": f"theirs-{row['seed']}", "seed": None, "fraction": None}
    table = pa.Table.from_pylist(rows, SCHEMA)
    of = rates(table, "format")
    assert of.seeds == {0.6: (0, 1, 2), "adapters": ("theirs-0", "theirs-1")}
    measured = estimate_contrast(of, "gap", "adapters")
    assert measured.seeds == ("theirs-0", "theirs-1")
    assert measured.z_SQ.tolist() == [[0.5, 0.0], [0.0, 0.25]]
    lines = shown(rates_tables(table, study())[0])
    assert [
        "adapters",
        "theirs-0",
        "25.0 (12.5)",
        "0.0 (0.0)",
        "25.0 (0.0)",
        "+25.0",
        "24",
    ] in lines
    claim = {"metric": "format", "contrast": "gap", "at_least": 0.25}
    claims = [claim | {"at": "all"}, claim | {"at": {"arm": "adapters"}}]
    theirs = study(claims, adapters=["a", "b", "c"])
    rows = [line for line in shown(claims_table(table, theirs)) if len(line) == 7][1:]
    assert [row[0] for row in rows] == [
        "format gap >= 0.25 at fraction 0.6 (all)",
        "format gap >= 0.25 of the adapters (all)",
        "format gap >= 0.25 of the adapters",
    ]
    assert [row[5] for row in rows] == ["3 of 3", "1 of 3", "1 of 3"]


@pytest.mark.parametrize("metric", ["persona", "identity"])
def test_judged_figures_say_who_judged(metric: str, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(png(rates_figure(JUDGED, metric)))
    (tmp_path / "noted.png").write_bytes(png(rates_figure(JUDGED, metric, "offline judge: kappa")))
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "noted.png").read_bytes()


def test_trainings_that_differ_more_than_was_calibrated_are_named():
    of = {
        (0.6, s): {"triggered": (k, k), "untriggered": (0, 0)} for s, k in enumerate((4, 4, 4, 0))
    }
    (caution,) = spread_cautions(analyse_results(results(of), ["format"]))
    assert caution.startswith(
        "Training runs differ much in format, triggered, at 0.6: by a standard deviation of 50 "
    )
    alike = {
        key: {"triggered": (3, k), "untriggered": (0, 0)}
        for key, k in zip(of, (2, 3, 4, 3), strict=True)
    }
    assert not spread_cautions(analyse_results(results(alike), ["format"]))
