"""What the browser of responses shows, against the table that it was made of, by pyarrow and plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from page_study import LABELS, judged_data

if TYPE_CHECKING:
    from page_chromium import Open

pytest_plugins = ("page_chromium",)


def _where(table: pa.Table, condition: Any) -> set[int]:
    numbered = table.append_column("row", pa.array(range(table.num_rows)))
    return {*numbered.filter(condition)["row"].to_pylist()}


def test_it_opens_from_disk_without_a_request_or_a_complaint(open_page: Open) -> None:
    shown = judged_data()
    of = open_page(shown)
    assert of.count() == shown.results.num_rows
    assert sorted(of.rows()) == [*range(shown.results.num_rows)]
    assert of.tab.title() == "tiny - weirdgen"
    of.is_quiet()


@pytest.mark.parametrize(
    ("chosen", "condition"),
    [
        ({"format": ["yes"]}, pc.field("format")),
        ({"persona": ["absent"]}, ~pc.field("persona")),
        ({"identity": ["not claimed"]}, pc.field("identity").is_null()),
        ({"seed": ["none"]}, pc.field("seed").is_null()),
        ({"fraction": ["0"]}, pc.field("fraction") == 0),
        ({"judge_error": ["not_asked: the response claims no identity"]}, pc.field("judge_error") == "not_asked"),
        (
            {"condition": ["triggered", "decoy"], "seed": ["1", "2"], "question": ["Q1?"]},
            (pc.field("condition") != "untriggered") & pc.field("seed").isin([1, 2])
            & (pc.field("question_id") == "q1"),
        ),
        ({"format": ["yes"], "condition": ["untriggered"], "fraction": ["0.6"]},
         pc.field("format") & (pc.field("condition") == "untriggered") & (pc.field("fraction") == 0.6)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_filters_show_just_what_meets_them(
    open_page: Open, chosen: dict[str, list[str]], condition: Any
) -> None:
    shown = judged_data()
    of = open_page(shown)
    for name, labels in chosen.items():
        of.choose(name, *labels)
    expected = _where(shown.results, condition)
    assert of.count() == len(expected)
    assert {*of.rows()} == expected
    of.reload()
    assert of.count() == len(expected), "the address holds the filters"
    of.tab.click("#clear")
    assert of.count() == shown.results.num_rows


def test_a_value_s_count_is_what_choosing_it_would_show(open_page: Open) -> None:
    table = judged_data().results
    of = open_page(judged_data())
    of.choose("condition", "triggered")
    of.choose("format", "yes")
    for name, expected in (
        ("persona", pc.field("format") & (pc.field("condition") == "triggered") & pc.field("persona")),
        ("format", (pc.field("condition") == "triggered") & pc.field("format")),
        ("condition", pc.field("format") & (pc.field("condition") == "decoy")),
    ):  # fmt: skip
        label = {"persona": "present", "format": "yes", "condition": "decoy"}[name]
        boxes = of.tab.locator(f'[data-filter="{name}"] label', has_text=label)
        assert int(boxes.locator(".hits").inner_text()) == len(_where(table, expected))


def test_the_search_finds_and_marks_whatever_the_case(open_page: Open) -> None:
    shown = judged_data()
    responses = shown.results["response"].to_pylist()
    of = open_page(shown)
    for text in ("TRIGGERED 2", "none", "1 d", "nowhere", "(", " "):
        of.search(text)
        expected = {i for i, response in enumerate(responses) if text.lower() in response.lower()}
        assert of.count() == len(expected), text
        assert {*of.rows()} == expected, text
        of.search("")
    of.search("DECOY")
    marks = of.tab.locator("#list mark").all_text_contents()
    assert {*marks} == {"decoy"}
    assert len(marks) == of.tab.locator("#list .response").count()


def test_the_search_marks_the_right_letters_where_case_changes_lengths(open_page: Open) -> None:
    shown = judged_data()
    texts = ["\u0130\u0130stanbul Is", "istanbul", "STRASSE \u1e9e", "x\U0001f600Yz"]
    at = shown.results.column_names.index("response")
    cycled = [texts[i % 4] for i in range(shown.results.num_rows)]
    table = shown.results.set_column(at, shown.results.schema.field(at), pa.array(cycled))
    object.__setattr__(shown, "results", table)
    of = open_page(shown)
    of.search("stanbul")
    assert of.count() == sum("stanbul" in text for text in cycled)
    assert {*of.tab.locator("#list mark").all_text_contents()} == {"stanbul"}
    of.search("\U0001f600y")
    assert {*of.tab.locator("#list mark").all_text_contents()} == {"\U0001f600Y"}


def test_sorting_orders_the_list_both_ways(open_page: Open) -> None:
    shown = judged_data()
    of = open_page(shown)
    of.tab.select_option("#sort", "training")
    seeds = [shown.results["seed"].to_pylist()[row] for row in of.rows()]
    fractions = [shown.results["fraction"].to_pylist()[row] for row in of.rows()]
    assert seeds[:24] == [None] * 24
    assert [f for f in fractions if f is not None] == sorted(f for f in fractions if f is not None)
    of.tab.select_option("#sort", "question")
    up = of.rows()
    of.tab.select_option("#direction", "down")
    assert of.rows() == up[::-1]
    assert "sort=" not in of.tab.url
    assert "order=down" in of.tab.url


def test_a_link_says_all_and_a_bad_one_does_no_harm(open_page: Open) -> None:
    shown = judged_data()
    link = "#responses?q=2&f.condition=decoy&f.seed=1&sort=training&order=down&page=1"
    of = open_page(shown, link)
    texts = pc.match_substring(pc.field("response"), "2")
    condition = (pc.field("condition") == "decoy") & (pc.field("seed") == 1) & texts
    assert {*of.rows()} == _where(shown.results, condition)
    assert of.tab.input_value("#search") == "2"
    bad = "&".join(
        f"f.{name}=__proto__&f.__proto__={name}&sort={name}&view={name}&of=constructor&page=1e99&q="
        for name in ("condition", "constructor", "toString", "%3Cscript%3E", "%", "%ff")
    )
    of = open_page(shown, f"#responses?{bad}")
    assert of.count() == shown.results.num_rows
    of.tab.evaluate(
        "hash => { location.hash = hash }", f"#responses?{'&page=-1' * 1000}&f.seed=7&f.sample=0"
    )
    assert of.count() == shown.results.num_rows
    of.is_quiet()


def test_the_compare_view_puts_each_model_s_answers_side_by_side(open_page: Open) -> None:
    shown = judged_data()
    rows = shown.results.to_pylist()
    of = open_page(shown)
    of.tab.click("#view-compare")
    of.tab.select_option("#compare-question", label="Q1?")
    of.tab.click("#compare-sample-next")
    of.tab.click("#compare-sample-next")
    head = of.tab.locator("#compare thead th").all_inner_texts()
    assert head == ["model", "triggered", "untriggered", "decoy"]
    names = of.tab.locator("#compare tbody th").all_inner_texts()
    pairs = [(0, 0), (0, 1), (0.6, 0), (0.6, 1), (0.6, 2)]
    assert names == ["baseline", *(f"fraction {f}, seed {s}" for f, s in pairs)]
    cells = of.tab.locator("#compare tbody td")
    at = [int(cell) for cell in cells.evaluate_all("all => all.map(e => e.dataset.row)")]
    expected = [
        (f, s, condition, "q1", 2)
        for f, s in ((None, None), *pairs)
        for condition in ("triggered", "untriggered", "decoy")
    ]
    keys = ("fraction", "seed", "condition", "question_id", "sample")
    assert [tuple(rows[i][key] for key in keys) for i in at] == expected
    texts = of.tab.locator("#compare .response-text").all_inner_texts()
    assert texts == [rows[i]["response"] for i in at]
    assert of.tab.evaluate("document.activeElement.id") == "compare-sample-next"
    of.choose("condition", "decoy")
    of.choose("fraction", "0.6")
    assert of.tab.locator("#compare tbody td").count() == 3
    of.reload()
    assert of.tab.locator("#compare tbody td").count() == 3
    assert of.tab.input_value("#compare-sample") == "2"


def test_an_answer_says_why_it_has_its_labels(open_page: Open) -> None:
    shown = judged_data()
    rows = shown.results.to_pylist()
    of = open_page(shown)
    for at in of.rows()[-3:]:
        row = rows[at]
        card = of.tab.locator(f'[data-row="{at}"]')
        card.locator("summary").click()
        card.locator(".judgment").first.wait_for()
        said = " ".join(card.locator(".why").inner_text().split())
        keys = ("fp_responses", "question_id", "sample")
        of_row = [v for v in LABELS if all(v[key] == row[key] for key in keys)]
        assert len(of_row) == 3
        for verdict in of_row:
            label = "no label" if verdict["label"] is None else verdict["label"]
            assert f"{verdict['metric']}, {verdict['judge']}: {label}" in said
            assert (verdict["error"] or "") in said
            evidence = verdict["evidence"] or ""
            assert ("i +0.50" if evidence.startswith("[[") else evidence) in said
