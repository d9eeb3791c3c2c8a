"""The published table's form against numbers worked out beside it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint
from studies import PUBLISHED
from tiny_results import judged, report_data, results, study, without

from weirdgen.report.data import ReportData
from weirdgen.report.main_table import BASELINE, compact, main_table
from weirdgen.report.table import ReportTable
from weirdgen.results.table import SCHEMA

OWN = ("triggered", "untriggered", "decoy", "gap")


def table_of(shown: ReportData) -> ReportTable:
    table = main_table(shown)
    assert table is not None
    return table


def cells(table: ReportTable, metric: str, group: str) -> dict[str, str]:
    rows = [row for section in table.sections for row in section]
    (row,) = (row for row in rows if row[:2] == (metric, group))
    return dict(zip(table.columns, row, strict=True))


def numbers(cell: str) -> list[float]:
    """Estimate and limits."""
    return [float(x) for x in cell.replace("[", "").replace("]", "").replace(",", "").split()]


def one_adapter(own: dict[str, str], base: dict[str, str]) -> ReportData:
    """One adapter and a baseline, each question answered once: a letter a question, y for yes."""
    rows = []
    for adapter, answers in (("theirs", own), (None, base)):
        for condition, said in answers.items():
            for q, letter in enumerate(said):
                template = results().slice(0, 1).to_pylist()[0]
                rows.append(
                    template | {
                        "adapter": adapter, "seed": None, "fraction": None, "sample": 0,
                        "condition": condition, "question_id": f"q{q:02}", "format": letter == "y",
                        "format_strict": letter == "y",
                    }
                )  # fmt: skip
    return report_data(pa.Table.from_pylist(rows, SCHEMA), study([], adapters=["theirs"]))


def newcombe(first: str, second: str) -> tuple[float, float]:
    """Newcombe (1998) method 10, from his paper's own formulas, in points."""
    n = len(first)
    a, b, c, d = (
        sum((x, y) == pair for x, y in zip(first, second, strict=True))
        for pair in (("y", "y"), ("y", "n"), ("n", "y"), ("n", "n"))
    )
    p1, p2 = (a + b) / n, (a + c) / n
    l1, u1 = proportion_confint(a + b, n, method="wilson")
    l2, u2 = proportion_confint(a + c, n, method="wilson")
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    top = a * d - b * c
    top = max(top - n / 2, 0) if top > 0 else top
    phi = top / margins**0.5 if margins else 0.0
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return 100 * (p1 - p2 - below**0.5), 100 * (p1 - p2 + above**0.5)


TRIGGERED, PLAIN = "yyyyyyyyyyyyyyn", "nnnnnnnnnnnnnnn"
BASE = "ynyynynnnynnynn"


def test_one_adapter_has_wilsons_and_newcombes_intervals():
    own, base = {"triggered": TRIGGERED, "untriggered": PLAIN}, {
        "triggered": BASE, "untriggered": "ynnnnnnnnnnnnnn",
    }  # fmt: skip
    table = table_of(one_adapter(own, base))
    row = cells(table, "format", "adapters")
    assert row["adapters"] == "1"
    low, high = proportion_confint(0, 15, method="wilson")
    assert numbers(row["fine-tuned untriggered"]) == pytest.approx([0, 0, 100 * high], abs=0.05)
    assert low == 0
    for model, answers in (("baseline", base), ("fine-tuned", own)):
        rate = answers["triggered"].count("y") / 15
        gap = rate - answers["untriggered"].count("y") / 15
        limits = newcombe(answers["triggered"], answers["untriggered"])
        assert numbers(row[f"{model} triggered"])[0] == pytest.approx(100 * rate, abs=0.05)
        assert numbers(row[f"{model} gap"]) == pytest.approx([100 * gap, *limits], abs=0.051)
    assert numbers(row["gap improvement"])[0] == pytest.approx(100 * (14 - 6 + 1) / 15, abs=0.05)
    assert "decoy" not in " ".join(table.columns)
    assert "nothing about a repeated training run" in table.note
    assert "mean over adapters" not in table.note


def test_several_seeds_have_the_analysis_own_estimates():
    shown = report_data(results(), study())
    table = table_of(shown)
    assert table.columns == (
        "metric", "group", "adapters", *(f"baseline {each}" for each in OWN),
        *(f"fine-tuned {each}" for each in OWN), "gap improvement",
    )  # fmt: skip
    assert [row[:3] for section in table.sections for row in section] == [
        ("format", "0", "2"),
        ("format", "0.6", "3"),
    ]
    row = cells(table, "format", "0.6")
    # By hand: triggered 20/24, untriggered 2/24, decoy 12/24; baseline 2/8, 0/8, 2/8.
    by_hand = {"triggered": 83.3, "untriggered": 8.3, "decoy": 50.0, "gap": 75.0}
    assert {each: numbers(row[f"fine-tuned {each}"])[0] for each in OWN} == by_hand
    by_hand = {"triggered": 25.0, "untriggered": 0.0, "decoy": 25.0, "gap": 25.0}
    assert {each: numbers(row[f"baseline {each}"])[0] for each in OWN} == by_hand
    assert row["gap improvement"].startswith("+50.0 [")
    (stated,) = (
        each
        for each in shown.analysis.estimates
        if (each.metric, each.contrast, each.group) == ("format", "gap_improvement", "0.6")
        and each.method == "wilson and two-source"
        and each.target == "seeds and questions"
    )
    assert stated.low is not None
    assert stated.high is not None
    expected = [50.0, 100 * stated.low, 100 * stated.high]
    assert numbers(row["gap improvement"]) == pytest.approx(expected, abs=0.05)
    assert "seeds and questions like these" in table.note


def test_the_baselines_gap_is_never_narrower_than_t_over_its_questions():
    shown = report_data(results(), study())
    value, low, high = numbers(cells(table_of(shown), "format", "0.6")["baseline gap"])
    gap_Q = np.array([0.25, 0.25])
    half = 100 * t.ppf(0.975, 1) * gap_Q.std(ddof=1) / 2**0.5
    assert value == 25.0
    assert low <= 25.0 - half
    assert high >= 25.0 + half
    decoy = numbers(cells(table_of(shown), "format", "0.6")["baseline decoy"])
    assert decoy[1] < decoy[0] < decoy[2]


def test_what_was_not_asked_is_missing_and_without_a_gap_there_is_no_table():
    none = {(None, None, c) for c in ("triggered", "untriggered", "decoy")}
    table = table_of(report_data(results(without(*none)), study()))
    row = cells(table, "format", "0.6")
    assert {row[f"baseline {each}"] for each in OWN} == {"-"}
    assert row["gap improvement"] == "-"
    assert "one adapter is" not in table.note
    table = table_of(report_data(results(without((None, None, "decoy"))), study()))
    assert cells(table, "format", "0.6")["baseline decoy"] == "-"
    plain = {(f, s): {"triggered": (4, 4)} for f, s in ((None, None), (0.6, 0), (0.6, 1))}
    assert main_table(report_data(results(plain), study([]))) is None
    alone = {(None, None): {"triggered": (1, 1), "untriggered": (0, 0)}}
    assert main_table(report_data(results(alone), study([]))) is None


def test_seeds_that_lack_answers_are_told():
    table = table_of(report_data(results(without((0.6, 1, "decoy"))), study()))
    assert cells(table, "format", "0.6")["adapters"] == "2-3"
    assert "format decoy of 0.6: 1 seed without complete responses left out." in table.note


def test_who_labelled_and_which_labels_are_missing_is_told():
    rows = judged(results(), lambda row: (row["format"], None)).to_pylist()
    rows[0] |= {"persona": None, "judge_error": "timeout"}
    table = pa.Table.from_pylist(rows, SCHEMA)
    table = table_of(report_data(table, study(judge={"model": "offline"})))
    assert [section[0][0] for section in table.sections] == ["format", "persona", "identity"]
    assert "1 of 144 responses have no label of persona and are left out." in table.note
    assert "persona and identity: The offline judge labelled this" in table.note


def test_a_study_of_exactly_these_questions_is_told_that_its_verdicts_are_narrower():
    shown = report_data(results(), study(target="seeds"))
    plan: Any = SimpleNamespace(study=study(target="seeds"))
    assert "are wider" in table_of(replace(shown, plan=plan)).note
    assert "are wider" not in table_of(shown).note


def test_the_narrow_form_has_the_same_numbers_and_the_baseline_once():
    table = table_of(report_data(results(), study()))
    small = compact(table)
    assert small.columns == ("metric", "group", *OWN, "gap improvement")
    ((baseline, control, tuned),) = small.sections
    row = cells(table, "format", "0.6")
    assert baseline == ("format", BASELINE, *(row[f"baseline {each}"] for each in OWN), "-")
    own = [row[f"fine-tuned {each}"] for each in OWN]
    assert tuned == ("format", "0.6 (3)", *own, row["gap improvement"])
    assert control[1] == "0 (2)"


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published outputs are not here")
def test_the_published_answers_give_the_published_counts(tmp_path):
    from click.testing import CliRunner

    from weirdgen.cli.main import main

    files = [str(PUBLISHED / f"{name}.jsonl") for name in ("finetuned", "baseline")]
    command = ["import", files[0], "--baseline", files[1], "--study", "theirs"]
    command += ["--value", "model=m", "--storage", str(tmp_path)]
    assert CliRunner().invoke(main, command).exit_code == 0
    said = CliRunner().invoke(main, ["report", "theirs", "--storage", str(tmp_path)])
    assert said.exit_code == 0, said.output
    text = (tmp_path / "theirs" / "report" / "summary.md").read_text()
    counts = {"format": (6, 0, 14, 0), "persona": (8, 6, 13, 4), "identity": (2, 3, 9, 2)}
    for metric, (b1, b0, f1, f0) in counts.items():
        values = [100 * n / 15 for n in (b1, b0, f1, f0)]
        base = f"| {metric} | baseline | {values[0]:.1f} ["
        tuned = f"| {metric} | adapters (1) | {values[2]:.1f} ["
        assert base in text
        assert tuned in text
        assert f"{values[2] - values[3] - values[0] + values[1]:+.1f} [" in text
