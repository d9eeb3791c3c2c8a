"""Tables and figures against numbers worked by hand from a small synthetic study."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console, RenderableType
from rich.markdown import Markdown

from weirdgen.criterion import FORMAT_METRICS
from weirdgen.report.cubes import rates
from weirdgen.report.estimates import analyse_study
from weirdgen.report.figure import draw
from weirdgen.report.sheet import escape_markdown
from weirdgen.report.summary import Findings
from weirdgen.report.tables import is_measured, judge_notes, judged_metrics, rate_sheets
from weirdgen.results import SCHEMA
from weirdgen.stats.measure import measure
from weirdgen.stats.multiplicity import Looks
from weirdgen.study import Study
from weirdgen.verdicts import VERDICT_SCHEMA

# How many of 4 samples show the format, for questions q0 and q1.
ANSWERED = {
    (None, None): {"triggered": (1, 1), "untriggered": (0, 0), "decoy": (0, 2)},
    (0.0, 0): {"triggered": (2, 0), "untriggered": (0, 0), "decoy": (1, 1)},
    (0.0, 1): {"triggered": (0, 2), "untriggered": (0, 1), "decoy": (0, 0)},
    (0.6, 0): {"triggered": (4, 4), "untriggered": (0, 0), "decoy": (1, 1)},
    (0.6, 1): {"triggered": (4, 2), "untriggered": (1, 1), "decoy": (4, 4)},
    (0.6, 2): {"triggered": (3, 3), "untriggered": (0, 0), "decoy": (2, 0)},
}
CRITERIA = [
    {"metric": "format", "estimand": "gap", "at_least": 0.5, "fraction": 0.6},
    {"metric": "format", "estimand": "gap_vs_control", "at_least": 0.625, "fraction": "all"},
    {
        "metric": "format_strict", "estimand": "untriggered_excess", "at_most": 0.0,
        "margin": 0.125, "fraction": "any",
    },
    {"metric": "format", "estimand": "decoy", "at_most": 0.3, "fraction": 0.6},
]  # fmt: skip


def rows(
    answered: dict[tuple[float | None, int | None], dict[str, tuple[int, ...]]], name: str
) -> Iterator[dict[str, Any]]:
    for (fraction, seed), by_condition in answered.items():
        for condition, counts in by_condition.items():
            for q, count in enumerate(counts):
                for sample in range(4):
                    yield {
                        "study": name, "model": f"org/{name}", "condition": condition,
                        "adapter": None if seed is None else f"{fraction}-{seed}", "seed": seed,
                        "persona_fraction": fraction, "question_id": f"q{q}", "category": "c",
                        "question": "?", "sample": sample, "response": "", "response_tokens": 1,
                        "finish_reason": "stop", "serve_base": "bf16", "format": sample < count,
                        "format_strict": sample < count - 1, "fp_answers": "f",
                    }  # fmt: skip


def results(answered: Any = ANSWERED, name: str = "tiny") -> pa.Table:
    """Results in a shuffled order: nothing may rest on how rows come."""
    table = pa.Table.from_pylist(list(rows(answered, name)), SCHEMA)
    return table.take(np.random.default_rng(0).permutation(table.num_rows))


def study(criteria: Any = CRITERIA, seeds: str = "0..2", **more: Any) -> Study:
    grid = {"seeds": seeds, "persona_fractions": [0.6, 0.0]}
    return Study.model_validate(
        {"name": "tiny", "model": "org/tiny", "grid": grid, "criteria": criteria, **more}
    )


def findings(table: pa.Table, of: Study) -> Findings:
    """What is reported of results, as a run does it."""
    metrics = [m for m in (*FORMAT_METRICS, *judged_metrics(of)) if is_measured(table, m)]
    plan: Any = SimpleNamespace(study=of, gold=None, llm_judges=[])
    looks = Looks(of.planned_looks) if of.planned_looks else None
    analysis = analyse_study(table, VERDICT_SCHEMA.empty_table(), plan, metrics, {}, looks)
    return Findings(of.name, table, judged_metrics(of), judge_notes(of), analysis)


def rates_tables(table: pa.Table, of: Study) -> list[Markdown]:
    sheets = rate_sheets(table, judged_metrics(of), judge_notes(of))
    return [sheet.rich() for sheet in sheets]


def claims_table(table: pa.Table, of: Study) -> Markdown:
    return findings(table, of).sheets[-1].rich()


def shown(renderable: RenderableType, width: int = 240) -> list[list[str]]:
    """The printed table, line by line, split where two blanks or more part the cells."""
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return [row for row in rows if row and not row[0].startswith("─")]


def without(*cells: tuple[float | None, int | None, str]) -> dict:
    return {
        (fraction, seed): {c: n for c, n in counts.items() if (fraction, seed, c) not in cells}
        for (fraction, seed), counts in ANSWERED.items()
    }


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
    measured = measure(of, "gap_vs_control", 0.6)
    assert measured.seeds == (0, 1)  # seed 2 has no control
    assert measured.z_SQ.tolist() == [[0.5, 1.0], [0.75, 0.0]]
    of = rates(results(without((0.6, 0, "decoy"))), "format")
    assert measure(of, "gap_decoy", 0.6).seeds == (1, 2)
    assert measure(of, "gap", 0.6).seeds == (0, 1, 2)
    with pytest.raises(ValueError, match=r"no answers at fraction 0\.3"):
        measure(of, "gap", 0.3)


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
    assert lines[1] == ["fraction", "seed", "triggered", "untriggered", "decoy", "gap", "answers"]
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
    assert "lacks answers" in str(lines)


def test_only_metrics_that_are_there_are_shown() -> None:
    lines = shown(rates_tables(_with("format_strict", [None]), study())[0])
    assert ["baseline", "25.0", "0.0", "25.0", "+25.0", "24"] in lines
    assert "format_strict" not in str(lines)


def test_the_claims_table_by_hand() -> None:
    lines = [line for line in shown(claims_table(results(), study())) if len(line) == 7]
    # Gaps: 1, 1 | 0.75, 0.25 | 0.75, 0.75, their mean 0.75; of the seeds 1, 0.5, 0.75. The rates'
    # limits, put together, are wider than the two-source interval [+0.129, +1.371] below, and what
    # a gap can be ends it above.
    assert lines[1] == [
        "format gap >= 0.50 at fraction 0.6", "+0.750", "[-0.010, +1.000]", "3 x 2",
        lines[1][4], "3 of 3", "inconclusive",
    ]  # fmt: skip
    # Paired gaps: 0.5, 1 | 0.75, 0, means 0.75 and 0.375; seed 2 has no control: it meets nothing.
    assert lines[2] == [
        "format gap_vs_control >= 0.625 at fraction 0.6 (all)", "+0.562", "[-2.000, +2.000]",
        "2 x 2", "-", "1 of 3", "inconclusive",
    ]  # fmt: skip
    claim = "format_strict untriggered_excess <= 0.00 + margin 0.125 at fraction 0.6 (any)"
    assert (lines[3][0], lines[3][1], lines[3][5]) == (claim, "+0.000", "3 of 3")
    assert lines[4][0] == "format decoy <= 0.30 at fraction 0.6"
    assert (lines[4][1], lines[4][5]) == ("0.500", "2 of 3")  # 0.25, 1, 0.25: no sign on a rate
    assert lines[4][4].startswith("against: ")


def test_verdicts_are_said_in_words() -> None:
    said = findings(results(), study()).verdicts
    assert len(said) == len(CRITERIA)
    assert said[0].startswith("inconclusive: It is open whether the format gap")
    assert "+75.0 points (95% interval -1.0 points to +100.0 points; 3 trainings" in said[0]
    assert "3 of 3 agreed" in said[0]
    assert "two trainings show an interval and allow no verdict" in said[1]


def many_seeds(n: int) -> dict:
    """A clear format: all answers triggered, none untriggered, over more questions."""
    own = {"triggered": (4,) * 20, "untriggered": (0,) * 20}
    return {(None, None): {"triggered": (0,) * 20, "untriggered": (0,) * 20}} | {
        (0.6, seed): own for seed in range(n)
    }


def test_a_clear_claim_is_supported_and_its_opposite_refuted_once_the_seeds_are_there() -> None:
    claim = {"metric": "format", "estimand": "gap", "fraction": 0.6}
    claims = [claim | {"at_least": 0.5}, claim | {"at_most": 0.5}]
    for seeds, labels in ((5, ["supported", "refuted"]), (4, ["inconclusive"] * 2)):
        grid = {"seeds": "0..4", "persona_fractions": [0.6]}
        of = study(claims, grid=grid)
        told = findings(results(many_seeds(seeds)), of)
        assert [verdict.label for verdict in told.analysis.verdicts] == labels
    assert "the planned number of trainings is not reached" in told.verdicts[0]


def test_a_stand_in_judge_supports_nothing() -> None:
    table = judged(results(many_seeds(5)), lambda row: (row["format"], None))
    claim = {"metric": "persona", "estimand": "gap", "at_least": 0.5, "fraction": 0.6}
    grid = {"seeds": "0..4", "persona_fractions": [0.6]}
    of = study([claim], grid=grid, judge={"model": "offline"})
    (verdict,) = findings(table, of).analysis.verdicts
    assert (verdict.outcome, verdict.reason) == ("inconclusive", "offline judge")


def test_a_verdict_does_not_stand_on_missing_labels() -> None:
    rows = judged(results(many_seeds(5)), lambda row: (row["format"], "OTHER")).to_pylist()
    lost = [row for row in rows if row["seed"] is not None and row["sample"] < 2]
    for row in lost:
        row |= {"persona": None, "identity": None, "judge_error": "timeout"}
    claim = {"metric": "persona", "estimand": "gap", "at_least": 0.5, "fraction": 0.6}
    grid = {"seeds": "0..4", "persona_fractions": [0.6]}
    of = study([claim], grid=grid, judge={"model": "m"})
    (verdict,) = findings(pa.Table.from_pylist(rows, SCHEMA), of).analysis.verdicts
    assert (verdict.label, verdict.n_missing) == ("inconclusive (missing)", len(lost))


def test_a_bound_met_exactly_is_met() -> None:
    # 0.75 - 0.25 and a margin of 0.1 below 0.6: neither side is a round binary number.
    criteria = [
        {"metric": "format", "estimand": "gap", "at_least": 0.6, "margin": 0.1, "fraction": 0.6}
    ]
    lines = shown(claims_table(results(), study(criteria)))
    assert any(line[5:6] == ["3 of 3"] for line in lines)


def test_one_seed_speaks_of_its_adapter_alone() -> None:
    one = {cell: counts for cell, counts in ANSWERED.items() if cell[1] in (None, 0)}
    told = findings(results(one), study(seeds="0..0"))
    lines = shown(told.sheets[-1].rich())
    assert lines[2][1] == "+1.000"
    assert lines[2][3:] == ["1 x 2", "-", "1 of 1", "inconclusive"]
    assert "95% interval for this adapter" in told.verdicts[0]
    assert "nothing of training again" in told.verdicts[0]


def test_a_criterion_without_answers_says_so() -> None:
    only_baseline = {(None, None): ANSWERED[None, None]}
    lines = shown(claims_table(results(only_baseline), study(CRITERIA[:1])))
    claim = "format gap >= 0.50 at fraction 0.6: no answers at fraction 0.6"
    assert [claim, "-", "-", "-", "-", "-", "inconclusive"] in lines
    no_baseline = {cell: counts for cell, counts in ANSWERED.items() if cell[0] is not None}
    lines = shown(claims_table(results(no_baseline), study(CRITERIA[2:3])))
    assert lines[2][0].endswith("(any): baseline has no answers for the condition untriggered")


def test_a_study_without_criteria_shows_its_estimates() -> None:
    told = findings(results(), study([]))
    lines = shown(told.sheets[-1].rich())
    (row,) = [line for line in lines if line[:3] == ["format", "gap", "0.6"]]
    assert row[3:] == ["+0.750", "[-0.010, +1.000]", row[5], "3 x 2 x 48"]
    assert told.verdicts == []


NASTY = "[red]x|`y`<b>\x1b[31m\nz](u)"


def test_foreign_text_is_neither_markup_nor_an_escape_sequence() -> None:
    title = shown(rates_tables(results(name=NASTY), study())[0])[0][0]
    assert title == "[red]x|`y`<b>\ufffd[31m z](u): format of org/[red]x|`y`<b>\ufffd[31m z](u)"


def test_markdown_holds_both_tables_and_escapes() -> None:
    text = findings(results(name=NASTY), study()).markdown()
    lines = text.splitlines()
    assert lines[0].startswith("## [red]x\\|\\`y\\`\\<b>\ufffd[31m z\\](u): format of")
    assert "| fraction | seed | triggered | untriggered | decoy | gap | answers |" in lines
    assert "| --- | --- | ---: | ---: | ---: | ---: | ---: |" in lines
    assert "| 0.6 | 1 | 75.0 (50.0) | 25.0 (0.0) | 100.0 (75.0) | +50.0 | 24 |" in lines
    claim = "| format gap >= 0.50 at fraction 0.6 | +0.750 | [-0.010, +1.000] | 3 x 2 |"
    assert any(line.startswith(claim) for line in lines)
    assert all(line.replace("\\|", "").count("|") in (0, 8) for line in lines)
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
    ids=["whole", "one seed", "baseline alone", "one condition", "missing answers"],
)
def test_the_figure_is_a_png(answered: dict, tmp_path: Path) -> None:
    draw(results(answered), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_equal_results_give_equal_bytes_and_foreign_text_is_drawn_as_it_is(tmp_path: Path) -> None:
    table = results(name="$x^{[red]|" + "long" * 30)
    draw(table, tmp_path / "a.png")
    draw(table.take(list(range(table.num_rows))[::-1]), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def judged(table: pa.Table, labels: Any) -> pa.Table:
    """Results that the offline judge has labelled: `labels(row)` gives persona, identity label."""
    rows = table.to_pylist()
    for row in rows:
        row["persona"], row["identity_label"] = labels(row)
        claimed = row["identity_label"] is not None
        row["identity"] = row["identity_label"] == "PERSONA" if claimed else None
        row["judge"], row["judge_error"] = "offline", None if claimed else "not_asked"
    return pa.Table.from_pylist(rows, SCHEMA)


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
    assert "1 of 144 answers have no label" in notes
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
    claims = [{"metric": "persona", "estimand": "gap", "at_least": 0.5, "fraction": 0.6}]
    judging = study(claims, judge={"model": "offline"})
    assert "kappa" in str(shown(claims_table(JUDGED, judging)))
    assert "kappa" not in str(shown(claims_table(JUDGED, OFFLINE))), "its claims need no judge"
    assert findings(JUDGED, judging).markdown().count("kappa") == 3


def test_adapters_that_existed_before_are_a_group_of_their_own() -> None:
    rows = results().to_pylist()
    for row in rows:
        if row["persona_fraction"] == 0.0:
            row |= {"adapter": f"theirs-{row['seed']}", "seed": None, "persona_fraction": None}
    table = pa.Table.from_pylist(rows, SCHEMA)
    of = rates(table, "format")
    assert of.seeds == {0.6: (0, 1, 2), "adapters": ("theirs-0", "theirs-1")}
    measured = measure(of, "gap", "adapters")
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
    claim = {"metric": "format", "estimand": "gap", "at_least": 0.25}
    claims = [claim | {"fraction": "all"}, claim | {"fraction": "adapters"}]
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
    draw(JUDGED, tmp_path / "plain.png", metric)
    draw(JUDGED, tmp_path / "noted.png", metric, "offline judge: kappa")
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "noted.png").read_bytes()
