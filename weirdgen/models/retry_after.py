"""How long an endpoint asks to wait, as its response headers say."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait: `retry-after-ms`, or `Retry-After` as seconds or a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = unit * float(value)
        except ValueError:
            if (until_s := _unix_s(value)) is None:
                continue
            # Against the endpoint's own clock, where it reports one.
            now_s = _unix_s(headers.get("date", ""))
            seconds = until_s - (time.time() if now_s is None else now_s)
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _unix_s(date: str) -> float | None:
    """None if `date` is not a date."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
