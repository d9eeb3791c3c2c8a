"""The fullest minute of requests, as a rate-limited server sees it."""

from __future__ import annotations

from collections.abc import Sequence

from weirdgen.judging.rate_limiter import (
    WINDOW_S,
)

Arrival = tuple[float, int]

"""When a request reaches the server, and its tokens there."""


def most_in_a_window(arrived: Sequence[Arrival]) -> tuple[int, int]:
    """Requests and tokens of the fullest 60 s, wherever they begin."""
    ordered = sorted(arrived)
    first = tokens = most = most_tokens = 0
    for count, (at, used) in enumerate(ordered, 1):
        tokens += used
        while ordered[first][0] <= at - WINDOW_S + 1e-9:
            tokens -= ordered[first][1]
            first += 1
        most, most_tokens = max(most, count - first), max(most_tokens, tokens)
    return most, most_tokens
