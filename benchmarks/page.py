"""How quick the report's page is with 100,000 responses of 400 characters, in a real Chromium.

    python benchmarks/page.py [PAGE.html]

Writes the page (to PAGE.html, or to a temporary folder), opens it from disk five times, and
runs each search and filter five times or more, and steps through the compared view. A search counts
from the key to the drawn list, its pause for further keys included.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
from playwright.sync_api import Browser, Page, sync_playwright

from weirdgen.report.all_tables import all_tables
from weirdgen.report.data import ReportData
from weirdgen.report.estimates import analyse_results
from weirdgen.report.page import page
from weirdgen.results.labels import LABELS_SCHEMA
from weirdgen.results.table import SCHEMA, arm_of

FRACTIONS, SEEDS, QUESTIONS, SAMPLES = (0.0, 0.03, 0.1, 0.3), range(8), range(30), 34
BASELINE_SAMPLES = 23
CONDITIONS = ("decoy", "triggered", "untriggered")
LENGTH = 400
REPEATS = 5
LOADED = "#browser:not([hidden])"
SEARCHES = ("e", "qx", "thing that is nowhere", "ora", "\u2019")
FILTERS = ("format", "persona", "condition", "seed")
MEASURE = """async ([selector, value, drawnIn = '#list']) => {
  const element = document.querySelector(selector);
  const drawn = new Promise((done) => new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(done));
  }).observe(document.querySelector(drawnIn), {childList: true}));
  const started = performance.now();
  if (value === null) element.click();
  else {
    element.value = value;
    element.dispatchEvent(new Event('input', {bubbles: true}));
  }
  await drawn;
  return performance.now() - started;
}"""
"""Milliseconds from a click, or from a text typed, until what is new is drawn."""


def responses(rng: np.random.Generator) -> list[str]:
    """Texts of about LENGTH characters, of invented words that are as unequal as words are."""
    letters = np.array([*"etaoinshrdlucmfwypvbgkjqxz"])
    weights = 1 / np.arange(1, len(letters) + 1)
    spelled = rng.choice(letters, (5000, 9), p=weights / weights.sum())
    words = ["".join(word[:n]) for word, n in zip(spelled, rng.integers(2, 10, 5000), strict=True)]
    words[7] = "it\u2019s"
    rank = 1 / np.arange(1, len(words) + 1)
    n = len(FRACTIONS) * len(SEEDS) * SAMPLES + BASELINE_SAMPLES
    drawn = rng.choice(len(words), (n * len(CONDITIONS) * len(QUESTIONS), 90), p=rank / rank.sum())
    return [" ".join(words[i] for i in row)[:LENGTH] for row in drawn]


def study() -> ReportData:
    """A study of 32 training runs, 30 questions and three conditions, judged offline."""
    rng = np.random.default_rng(0)
    texts = iter(responses(rng))
    runs = [(None, None), *product(FRACTIONS, SEEDS)]
    rows, given = [], []
    for (fraction, seed), condition, question in product(runs, CONDITIONS, QUESTIONS):
        for sample in range(BASELINE_SAMPLES if seed is None else SAMPLES):
            there = bool(rng.random() < (0.8 if condition == "triggered" else 0.1))
            fp = f"{fraction} {seed} {condition}"
            key = {"fp_responses": fp, "question_id": f"q{question}", "sample": sample}
            row = {
                **key, "study": "large", "model": "org/large", "seed": seed,
                "adapter": None if seed is None else f"{fraction}-{seed}",
                "arm": arm_of(seed, fraction), "fraction": fraction, "condition": condition,
                "category": f"category {question % 6}", "question": f"What of number {question}?",
                "response": next(texts), "response_tokens": int(rng.integers(20, 200)),
                "finish_reason": "stop", "serve_base": "bf16", "format": there,
                "format_strict": there, "persona": there, "judge_error": "not_asked",
            }  # fmt: skip
            rows.append(row)
            words = [
                f'["{word}", {weight:.3f}]'
                for word, weight in zip(
                    row["response"].split()[:6], rng.normal(size=6), strict=True
                )
            ]
            judged = {**key, "judge": "offline", "judge_fp": "0" * 64}
            given += [
                judged | {"metric": "identity", "error": "not_asked"},
                judged | {
                    "metric": "persona", "label": "present" if there else "absent",
                    "value": float(there), "confidence": round(float(rng.random()), 4),
                    "evidence": f"[{', '.join(words)}]",
                },
            ]  # fmt: skip
    table = pa.Table.from_pylist(rows, SCHEMA)
    labels = pa.Table.from_pylist(given, LABELS_SCHEMA)
    analysis = analyse_results(table, ["format", "persona"])
    return ReportData("large", table, ["persona"], {}, analysis, labels=labels)


def opened(browser: Browser, path: Path) -> tuple[Page, float]:
    """The page in a new tab, and after how many seconds it could be searched."""
    tab = browser.new_page()
    started = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector(LOADED)
    return tab, time.perf_counter() - started


def measure(browser: Browser, path: Path) -> Iterator[tuple[str, list[float], str]]:
    """What was measured, each time it took, and the unit."""
    loads = []
    for _ in range(REPEATS):
        tab, taken = opened(browser, path)
        loads.append(taken)
        tab.close()
    yield "load, until it can be searched", loads, "s"
    tab, _ = opened(browser, path)
    for text in SEARCHES:
        taken = []
        for _ in range(REPEATS):
            taken.append(tab.evaluate(MEASURE, ["#search", text]))
            tab.evaluate(MEASURE, ["#search", ""])
        yield f"search {text!r}", taken, "ms"
    for name in FILTERS:
        box = [f'[data-filter="{name}"] input', None]
        yield f"filter {name}", [tab.evaluate(MEASURE, box) for _ in range(2 * REPEATS)], "ms"
    yield "next page", [tab.evaluate(MEASURE, ["#next", None]) for _ in range(REPEATS)], "ms"
    beside = []
    for _ in range(REPEATS):
        beside.append(tab.evaluate(MEASURE, ["#list .beside", None, "#compare"]))
        tab.evaluate(MEASURE, ["#view-list", None])
    yield "compare models on a question", beside, "ms"
    tab.click("#view-compare")
    for what in ("question", "sample"):
        step = [f"#compare-{what}-next", None, "#compare"]
        yield f"compare, next {what}", [tab.evaluate(MEASURE, step) for _ in range(REPEATS)], "ms"


def main() -> None:
    found = study()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(sys.argv[1] if len(sys.argv) == 2 else f"{folder}/page.html").resolve()
        started = time.perf_counter()
        path.write_text(page(found, all_tables(found), []), encoding="utf-8")
        print(
            f"{found.results.num_rows:,} responses: made in {time.perf_counter() - started:.1f} s,"
        )
        print(f"{path.stat().st_size / 1e6:.1f} MB\n\n| what | median | worst |\n|---|---|---|")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for name, taken, unit in measure(browser, path):
            print(f"| {name} | {statistics.median(taken):.3g} {unit} | {max(taken):.3g} {unit} |")
        browser.close()


if __name__ == "__main__":
    main()
