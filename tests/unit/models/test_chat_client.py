"""The chat client: how long an endpoint asks to wait."""

from __future__ import annotations

import email.utils
import time

import pytest

from weirdgen.models.retry_after import retry_after


def http_date(in_s: float) -> str:
    return email.utils.formatdate(time.time() + in_s, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry-after": f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0),
        ({"retry-after": http_date(-100)}, 0),
    ],
)
def test_the_forms_of_retry_after(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("now", [{}, {"date": ""}, {"date": "today"}])
def test_retry_after_as_a_date(now: dict[str, str]):
    wait_s = retry_after({"retry-after": http_date(90), **now})
    assert wait_s is not None
    assert 85 < wait_s <= 90
    far_off = {
        "date": "Thu, 01 Jan 2099 00:00:00 GMT",
        "retry-after": "Thu, 01 Jan 2099 00:00:40 GMT",
    }
    assert retry_after(far_off) == 40, "both by the endpoint's clock"
