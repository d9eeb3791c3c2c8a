"""The report's page as text: what it holds, that it allows nothing, and how the responses are packed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hostile import HOSTILE
from matplotlib.figure import Figure
from page_study import FIRST, LABELS, PNG, SECOND, dot_figure, hostile_data, judged_data, page_of
from tiny_results import CLAIMS, report_data, results, study

from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import persona_rubric
from weirdgen.report.all_tables import all_tables
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.page import visible
from weirdgen.report.page_data import pack
from weirdgen.report.wording import verdict_sentence
from weirdgen.results.labels import LABELS_SCHEMA


class _Outline(HTMLParser):
    """Elements with their attributes, and the text of each id and of each element's kind."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):  # they have no end
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)


def _unpacked(packed: bytes) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray], str]:
    """Header, lengths, the codes of every column, all responses."""
    size = int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4 : 4 + size])
    at, n = 4 + size, header["n"]
    runs = []
    for width in (4, *(column["width"] for column in header["columns"])):
        runs.append(np.frombuffer(packed, f"<u{width}", n, at))
        at += width * n
    return header, runs[0], runs[1:], packed[at:].decode()


def _labels(packed: bytes, name: str) -> list[str]:
    header, _, codes, _ = _unpacked(packed)
    for column, codes_N in zip(header["columns"], codes, strict=True):
        if column["name"] == name:
            labels = column.get("labels", column["keys"])
            return [labels[code] for code in codes_N]
    raise KeyError(name)


def test_a_page_holds_verdicts_tables_figures_and_methods_in_order() -> None:
    shown = replace(
        judged_data(),
        methods="We trained.",
        cautions=["Mind the gap."],
        lines=["seed 3 failed"],
    )
    html = page_of(shown, [(dot_figure(), PNG)])
    outline = _Outline(html)
    headings = [text.strip() for text in outline.text["h2"]]
    assert headings == ["Verdicts", "baseline and fine-tuned", "Figures", "All tables", "Methods", "Responses"]  # fmt: skip
    words = " ".join(text.strip() for text in outline.text["p"] + outline.text["li"])
    for verdict in shown.analysis.verdicts:
        assert verdict_sentence(verdict) in words
        assert verdict.label in words
    assert "We trained." in words
    assert "Mind the gap." in words
    assert "seed 3 failed" in words
    cells = [cell.strip() for tag in ("td", "th") for cell in outline.text[tag]]
    for table in all_tables(shown).others:
        for row in [row for rows in table.sections for row in rows]:
            assert all(cell.split(" [")[0] in cells for cell in row if cell), row
    (image,) = [attributes for tag, attributes in outline.elements if tag == "img"]
    assert image["alt"] == "A dot."
    assert (image["width"], image["height"]) == ("1", "1")


def test_headings_never_skip_a_level() -> None:
    tags = [tag for tag, _ in _Outline(page_of(judged_data(), [(dot_figure(), PNG)])).elements]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_partial_results_are_marked_as_such() -> None:
    whole = page_of(judged_data(), [])
    partial = page_of(replace(judged_data(), progress="2 of 3 training runs are done."), [])
    assert "Partial results." not in whole
    assert "<strong>Partial results.</strong> <bdi>2 of 3 training runs are done." in partial
    assert "<title>tiny (partial) - weirdgen</title>" in partial


def test_without_claims_the_estimates_stand_in_their_place() -> None:
    html = page_of(report_data(results(), study(claims=[])), [])
    headings = [text.strip() for text in _Outline(html).text["h2"]]
    assert headings[0] == "No claims"
    assert html.count('<h3 dir="auto">estimates</h3>') == 1


def test_one_condition_alone_makes_a_page_too() -> None:
    table = results({(0.6, 0): {"triggered": (4, 4)}})
    html = page_of(report_data(table, study(claims=CLAIMS)), [])
    assert 'id="published"' not in html, "there is no gap to publish"
    assert "inconclusive" in html


def test_the_policy_allows_the_page_s_own_script_and_style_and_nothing_else() -> None:
    html = page_of(judged_data(), [(dot_figure(), PNG)])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy
    for rule, pattern in (
        ("script-src", r"<script>(.*?)</script>"),
        ("style-src", r"<style>(.*?)</style>"),
    ):
        (source,) = re.findall(pattern, html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    for tag, attributes in _Outline(html).elements:
        assert "style" not in attributes, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), (tag, value)


def test_foreign_text_changes_nothing_of_the_page_s_structure() -> None:
    texts = [text or "-" for text in HOSTILE.values()]
    expected = _with_texts(*["-"] * 4, ["-"] * len(texts))
    for at in range(0, len(texts), 4):
        hostile = _with_texts(*(texts * 2)[at : at + 4], texts)
        assert _tags(hostile) == _tags(expected), texts[at : at + 4]
        assert visible(hostile) == hostile


def _with_texts(name: str, model: str, methods: str, drawn: str, lines: list[str]) -> str:
    shown = replace(judged_data(name, model), methods=methods, lines=lines, progress=name)
    return page_of(shown, [(dot_figure(drawn), PNG)])


def _tags(html: str) -> list[str]:
    return [tag for tag, _ in _Outline(html).elements]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words,\n\ttabs and \u00e9\u4e2d\U0001f600", None),
        ("\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", None),
        ("a\u00a0b\u3000c", None),
        ("x\u202ey\u2066z", "x\\u202ey\\u2066z"),
        ("\x00\x1b[2J\r\x9b", "\\x00\\x1b[2J\\x0d\\x9b"),
        ("in\u200bvis\u00adible\ufeff\u2028", "in\\u200bvis\\xadible\\ufeff\\u2028"),
        ("\U000e0041\U000e0100\u3164\ufe00", "\\u{e0041}\\u{e0100}\\u3164\\ufe00"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str | None) -> None:
    assert visible(text) == (text if shown is None else shown)


def test_answers_are_packed_with_every_value_that_tells_them_apart() -> None:
    shown = judged_data()
    packed = pack(shown)
    header, lengths_N, codes, text = _unpacked(packed)
    responses = shown.results["response"].to_pylist()
    assert header["n"] == len(responses) == len(lengths_N)
    assert text == "".join(responses)
    for column, codes_N in zip(header["columns"], codes, strict=True):
        assert codes_N.max() < len(column["keys"])
        assert len({*column["keys"]}) == len(column["keys"]), column["name"]
    rows = shown.results.to_pylist()
    words = {True: "yes", False: "no", None: "no label"}
    assert _labels(packed, "format") == [words[row["format"]] for row in rows]
    unclaimed = {True: "yes", False: "no", None: "not claimed"}
    assert _labels(packed, "identity") == [unclaimed[row["identity"]] for row in rows]
    assert _labels(packed, "question") == [row["question"] for row in rows]
    assert _labels(packed, "condition") == [row["condition"] for row in rows]
    seeds = ["none" if row["seed"] is None else str(row["seed"]) for row in rows]
    assert _labels(packed, "seed") == seeds
    groups = ["baseline" if row["seed"] is None else f"{row['fraction']:g}" for row in rows]
    assert _labels(packed, "fraction") == groups


def test_lengths_count_as_javascript_does() -> None:
    texts = ["a", "", "\U0001f600!", "\u0130\u00e9", "\ufeffx", "\x00"]
    table = results()
    cycled = [texts[i % len(texts)] for i in range(table.num_rows)]
    at = table.column_names.index("response")
    table = table.set_column(at, table.schema.field(at), pa.array(cycled))
    _, lengths_N, _, text = _unpacked(pack(report_data(table, study())))
    assert lengths_N[:6].tolist() == [1, 0, 3, 2, 2, 1]
    assert text == "".join(cycled)


def test_codes_are_in_the_order_of_the_values_nulls_first() -> None:
    rows = results().to_pylist()
    for i, row in enumerate(rows):
        row["question_id"], row["response_tokens"] = (
            f"q{row['question_id'][1:]}{i % 12}",
            i * 7 % 300,
        )
        row["category"] = ["~", "~~", "b10", "b9"][i % 4]
    table = pa.Table.from_pylist(rows, results().schema)
    header, _, _, _ = _unpacked(pack(replace(report_data(results(), study()), results=table)))
    keys = {column["name"]: column["keys"] for column in header["columns"]}
    assert keys["fraction"] == ["baseline", "0", "0.6"]
    assert keys["seed"] == ["~", "0", "1", "2"]
    assert keys["condition"] == ["triggered", "untriggered", "decoy"]
    assert keys["category"] == ["b9", "b10", "~~", "~~~"], "a key that looks like a null is escaped"
    assert [int(key) for key in keys["tokens"]] == sorted(int(key) for key in keys["tokens"])
    assert keys["question"].index("q09") < keys["question"].index("q010")


def test_judgments_keep_label_confidence_error_and_the_deciding_words() -> None:
    shown = judged_data()
    header, _, codes, _ = _unpacked(pack(shown))
    rows = {
        (row["fp_responses"], row["question_id"], row["sample"]): i
        for i, row in enumerate(shown.results.to_pylist())
    }
    of = {(j["metric"], j["judge"]): j["columns"] for j in header["judgments"] if "metric" in j}
    assert {metric for metric, _ in of} == {"persona", "identity"}

    def read(columns: list[int], row: int) -> list[str]:
        columned = [(header["columns"][i], codes[i][row]) for i in columns]
        return [column.get("labels", column["keys"])[code] for column, code in columned]

    for verdict in LABELS:
        row = rows[verdict["fp_responses"], verdict["question_id"], verdict["sample"]]
        columns = of[verdict["metric"], verdict["judge"]]
        label, confidence, error, evidence, *words = read(columns, row)
        assert label == (verdict["label"] or "")
        assert confidence == ("" if verdict["confidence"] is None else f"{verdict['confidence']:g}")
        assert error.startswith(verdict["error"] or "")
        said = verdict["evidence"] or ""
        if said.startswith('[["'):
            pairs = [[word, f"{weight:+.2f}"] for word, weight in json.loads(said)]
            assert [word for word in words if word] == [part for pair in pairs for part in pair]
        else:
            assert evidence == said
    titles = [column["title"] for column in header["columns"]]
    assert "judges differ on persona" in titles


def test_equal_findings_give_equal_pages_and_the_data_is_what_pack_gives() -> None:
    shown = hostile_data()
    html = page_of(shown, [])
    assert html == page_of(shown, [])
    (data,) = re.findall(r'id="responses-data">([^<]*)</script>', html)
    assert gzip.decompress(base64.b64decode(data)) == pack(shown)


def test_a_figure_without_notes_has_no_empty_paragraph() -> None:
    numbers = replace(dot_figure().numbers, note="")
    html = page_of(judged_data(), [(ReportFigure("p", "T", "C", "A", Figure(), numbers), PNG)])
    assert '<p class="note" dir="auto"></p>' not in html


def test_a_judge_that_is_a_model_is_called_by_its_name() -> None:
    first, second = ({"model": name, "base_url": "http://x/v1"} for name in ("org/one", "org/two"))
    of = study(judge=first, second_judge=second)
    rubric = persona_rubric("P", "")
    judges = [LlmJudge(of.judge, rubric), LlmJudge(of.second_judge, rubric)]
    of_judge = {
        each: {"judge": judge.settings.model, "judge_fp": judge.fingerprint}
        for each, judge in zip((FIRST, SECOND), judges, strict=True)
    }
    said = [label | of_judge[label["judge_fp"]] for label in LABELS]
    plan: Any = SimpleNamespace(study=of, llm_judges=judges)
    labels = pa.Table.from_pylist(said, LABELS_SCHEMA)
    header, _, _, _ = _unpacked(pack(replace(judged_data(), plan=plan, labels=labels)))
    named = {judgment.get("judge") for judgment in header["judgments"]} - {None}
    assert named == {"org/one", "org/two (second judge)"}


def test_a_study_s_own_metric_is_a_property_like_others() -> None:
    shown = judged_data()
    grades = [(None, 0.5, 1.0)[i % 3] for i in range(shown.results.num_rows)]
    table = shown.results.append_column("charm", pa.array(grades, pa.float64()))
    packed = pack(replace(shown, results=table))
    assert _labels(packed, "own-charm")[:3] == ["no label", "0.5", "1"]
    (role,) = [c["role"] for c in _unpacked(packed)[0]["columns"] if c["name"] == "own-charm"]
    assert role == "metric"


@pytest.mark.parametrize("name", ["training", "tokens", "confidence"])
def test_a_metric_may_be_called_as_a_property_is(name: str) -> None:
    shown = judged_data()
    grades = pa.array([0.25] * shown.results.num_rows, pa.float64())
    columns = _unpacked(pack(replace(shown, results=shown.results.append_column(name, grades))))[0][
        "columns"
    ]
    named = [column["name"] for column in columns if column["role"] != "judgment"]
    assert len({*named}) == len(named)
    assert [c["title"] for c in columns if c["role"] == "metric"][-1] == name


@pytest.mark.parametrize(
    "evidence",
    ["[[" * 100_000, f'[["a", {"9" * 400}]]', '[["a", NaN]]', '[["a"]]', "[[1, 2, 3]]", "[[}"],
    ids=lambda text: text[:12],
)
def test_no_evidence_breaks_the_page(evidence: str) -> None:
    said = [verdict | {"evidence": evidence} for verdict in LABELS]
    labels = pa.Table.from_pylist(said, LABELS_SCHEMA)
    assert _unpacked(pack(replace(judged_data(), labels=labels)))[0]["judgments"]
