"""Who can read the report's page, on what, and that hostile text does nothing to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hostile import HOSTILE
from page_study import hostile_data, judged_data

from weirdgen.report.data import ReportData
from weirdgen.report.page import visible
from weirdgen.report.wording import verdict_sentence

if TYPE_CHECKING:
    from page_chromium import Open

pytest_plugins = ("page_chromium",)


def test_the_keyboard_alone_is_enough(open_page: Open) -> None:
    shown = judged_data()
    of = open_page(shown)
    focused = "document.activeElement"
    of.tab.keyboard.press("Tab")
    assert of.tab.evaluate(f"{focused}.className") == "skip"
    of.tab.keyboard.press("Enter")
    of.tab.keyboard.press("Tab")
    assert of.tab.evaluate(f"document.querySelector('main').contains({focused})")
    of.tab.focus("#search")
    of.tab.keyboard.type("decoy")
    of.tab.wait_for_timeout(150)
    assert of.count() == shown.results.num_rows / 3
    of.tab.focus('[data-filter="format"] input')
    of.tab.keyboard.press("Space")
    rows = shown.results.to_pylist()
    assert of.count() == sum(row["condition"] == "decoy" and not row["format"] for row in rows)
    outline = f"getComputedStyle({focused}).outlineStyle + getComputedStyle({focused}).outlineWidth"
    assert of.tab.evaluate(outline) == "solid3px"
    of.tab.focus("#view-compare")
    of.tab.keyboard.press("Enter")
    assert of.tab.is_visible("#compare")
    reached = set()
    for _ in range(60):
        of.tab.keyboard.press("Tab")
        reached.add(of.tab.evaluate(f"{focused}.id || {focused}.tagName"))
    assert {"compare-question", "compare-sample", "clear", "SUMMARY"} <= reached


@pytest.mark.parametrize("view", ["#responses", "#responses?view=compare"])
@pytest.mark.parametrize(
    "settings",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}},
    ],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_no_serious_fault(open_page: Open, settings: Any, view: str) -> None:
    from page_chromium import required

    axe = required("axe_playwright_python.sync_playwright")
    shown = judged_data()
    object.__setattr__(shown, "progress", "2 of 3 training runs are done.")
    of = open_page(shown, view, **settings)
    of.search("decoy")
    of.tab.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    found = axe.Axe().run(of.tab).response["violations"]
    serious = [
        (fault["id"], [node["html"] for node in fault["nodes"]][:3])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_nothing_of_hostile_text_takes_effect_and_all_of_it_is_shown(open_page: Open) -> None:
    shown = hostile_data()
    responses = shown.results["response"].to_pylist()
    of = open_page(shown)
    scripts = of.tab.locator("script, iframe, object, embed, base, link, svg script, form").count()
    assert scripts == 2, "the page's own script and search form"
    seen: dict[int, str] = {}
    while True:
        of.tab.evaluate(
            "document.querySelectorAll('#list details').forEach(e => { e.open = true })"
        )
        texts = of.tab.locator("#list .response").evaluate_all(
            "all => all.map(e => [Number(e.dataset.row), e.querySelector('.response-text').textContent])"
        )
        seen |= dict(texts)
        tags = of.tab.locator("#list .response-text *").evaluate_all(
            "all => all.map(e => e.tagName)"
        )
        assert {*tags} <= {"SPAN", "EM"}
        if of.tab.locator("#next").is_disabled():
            break
        of.tab.click("#next")
    assert seen.keys() == {*range(len(responses))}
    blank = {"": "(an empty response)", "only spaces": "(only blanks)"}
    for row, text in seen.items():
        prefix = "" if responses[row].strip() else blank["only spaces" if responses[row] else ""]
        assert text == prefix + visible(responses[row])
    of.tab.click("#view-compare")
    for _ in range(3):
        of.tab.click("#compare-question-next")
    assert of.tab.locator("script, iframe").count() == 1
    assert of.tab.inner_text("h1") == HOSTILE["end of a script"]
    of.is_quiet()


def test_hostile_text_can_be_searched_and_linked(open_page: Open) -> None:
    shown = hostile_data()
    responses = shown.results["response"].to_pylist()
    of = open_page(shown)
    for text in ("<script", "\u202e", "{{7*7}}", "__proto__", "\\write18", "%s"):
        of.search(text)
        assert of.count() == sum(text in response for response in responses), text
    of.reload()
    assert of.tab.input_value("#search") == "%s"
    of.tab.select_option('[data-filter="question"] select', label="__proto__")
    of.search("")
    assert of.count() == 16
    of.is_quiet()


@pytest.mark.parametrize("make", [judged_data, hostile_data])
def test_a_phone_never_scrolls_sideways(open_page: Open, make: Callable[[], ReportData]) -> None:
    of = open_page(make(), viewport={"width": 390, "height": 844})
    width = "document.documentElement.scrollWidth"
    assert of.tab.evaluate(width) == 390
    of.tab.click("#filters > summary")
    of.tab.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert of.tab.evaluate(width) == 390
    of.tab.click("#view-compare")
    assert of.tab.evaluate(width) == 390


def test_without_javascript_all_but_the_browser_can_be_read(open_page: Open) -> None:
    shown = judged_data()
    of = open_page(shown, javascript=False)
    text = of.tab.inner_text("body")
    assert verdict_sentence(shown.analysis.verdicts[0]) in text
    assert "needs JavaScript" in text
    assert not of.tab.is_visible("#browser")
    assert not of.tab.is_visible("#theme")


def test_the_theme_can_be_switched_and_paper_is_light(open_page: Open) -> None:
    of = open_page(judged_data(), color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = of.tab.evaluate(colour)
    assert of.tab.inner_text("#theme") == "Light theme"
    of.tab.click("#theme")
    light = of.tab.evaluate(colour)
    assert light != dark
    of.tab.click("#theme")
    assert of.tab.evaluate(colour) == dark
    of.tab.emulate_media(media="print")
    assert of.tab.evaluate(colour) == light
    assert not of.tab.is_visible("#responses")
    assert of.tab.is_visible("#verdicts")


def test_the_methods_and_a_link_can_be_copied(open_page: Open) -> None:
    shown = judged_data()
    object.__setattr__(shown, "methods", "We trained.\u202e")
    of = open_page(shown, "#responses?f.format=true")
    of.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    read = "navigator.clipboard.readText()"
    of.tab.click("#copy-methods")
    of.tab.get_by_text("Copied.").wait_for()
    assert of.tab.evaluate(read) == "We trained.\\u202e"
    of.tab.click("#copy-link")
    of.tab.locator("#link-copied", has_text="Copied.").wait_for()
    assert of.tab.evaluate(read) == of.tab.url
    of.is_quiet()
