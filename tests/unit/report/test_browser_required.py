"""Without a browser its tests are skipped, or fail where that is demanded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    pass


def test_what_browser_tests_need_is_skipped_or_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    from page_chromium import required

    monkeypatch.delenv("WEIRDGEN_REQUIRE_CHROMIUM", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_browser"):
        required("no_such_browser")
    monkeypatch.setenv("WEIRDGEN_REQUIRE_CHROMIUM", "1")
    with pytest.raises(pytest.fail.Exception, match="no_such_browser"):
        required("no_such_browser")
