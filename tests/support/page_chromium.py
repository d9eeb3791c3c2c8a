"""The report's page in a real Chromium, opened from disk and without a network, as fixtures."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lacking import CHROMIUM, lacking
from page_study import PNG, dot_figure, page_of

from weirdgen.report.data import ReportData

LOADED = "#browser:not([hidden])"
WATCH = """
window.broken = [];
document.addEventListener('securitypolicyviolation', (event) => window.broken.push(event.violatedDirective));
"""


def required(module: str) -> Any:
    """The module of which a browser test has need."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        lacking(str(error), CHROMIUM)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        lacking("no Chromium is installed", CHROMIUM)
    playwright = required("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in a tab, and all that it did beyond showing itself."""

    tab: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def count(self) -> int:
        text = self.tab.inner_text("#count")
        (shown,) = re.findall(r"^([\d,]+) of [\d,]+ responses$", text)
        return int(shown.replace(",", ""))

    def rows(self) -> list[int]:
        """Rows of the table, in the order in which the list shows them, over all its pages."""
        seen = []
        while True:
            found = self.tab.locator("#list .response")
            seen += [int(row) for row in found.evaluate_all("all => all.map(e => e.dataset.row)")]
            if self.tab.locator("#next").is_disabled():
                return seen
            self.tab.click("#next")

    def choose(self, name: str, *labels: str) -> None:
        for label in labels:
            boxes = self.tab.locator(f'[data-filter="{name}"] label')
            boxes.filter(has=self.tab.get_by_text(label, exact=True)).locator("input").click()

    def reload(self) -> None:
        self.tab.reload()
        self.tab.wait_for_selector(LOADED)

    def search(self, text: str) -> None:
        self.tab.fill("#search", text)
        self.tab.wait_for_timeout(150)

    def is_quiet(self) -> None:
        assert self.requests == []
        assert self.complaints == []
        assert self.dialogs == []
        assert self.tab.evaluate("window.broken") == []
        assert self.tab.evaluate("window.pwned") is None


Open = Callable[..., Opened]


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    contexts = []

    def opened(
        shown: ReportData, link: str = "", javascript: bool = True, **settings: Any
    ) -> Opened:
        path = tmp_path / "page.html"
        path.write_text(page_of(shown, [(dot_figure(), PNG)]), encoding="utf-8")
        settings = {"viewport": {"width": 1280, "height": 900}, **settings}
        context = chromium.new_context(
            offline=True, java_script_enabled=javascript, reduced_motion="reduce", **settings
        )
        contexts.append(context)
        tab = context.new_page()
        of = Opened(tab)
        own = path.as_uri()
        tab.on(
            "request",
            lambda r: None if r.url.startswith(("data:", own)) else of.requests.append(r.url),
        )
        tab.on("console", lambda message: of.complaints.append(message.text))
        tab.on("pageerror", lambda error: of.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (of.dialogs.append(dialog.message), dialog.dismiss()))
        if javascript:
            tab.add_init_script(WATCH)
        tab.goto(own + link)
        if javascript:
            tab.wait_for_selector(LOADED)
        return of

    yield opened
    for context in contexts:
        context.close()
