"""Lines of a judge's journal."""

from __future__ import annotations

from weirdgen.judging.journal import Record


def judged_line(key: str, **more) -> Record:
    return {"judged": key, "labels": [["persona", "present", 0.5]], "dollars": 0.01, **more}
