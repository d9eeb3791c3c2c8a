"""One row of a study's statistics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """One row of a study's statistics. No field is ever a NaN: what cannot be given is None."""

    metric: str
    contrast: str
    group: str
    """A fraction, `adapters`, `trend` (slope on the logarithm of the fraction), or a pair
    of fractions such as `0.3 - 0.1`.
    """
    target: str
    """What the interval speaks of: `seeds and questions`, `seeds` (on exactly these questions),
    `this adapter`.
    """
    method: str
    estimate: float | None
    low: float | None
    """95%, like `high`, two-sided."""
    high: float | None
    p: float | None
    """Two-sided, that a difference is 0; adjusted for nothing."""
    n_seeds: int
    n_questions: int
    n_samples: int
    """Responses behind the estimate, the baseline's and the control's included."""
    note: str = ""
    """Why there is no interval, where there is none, or what a sensitivity row gets wrong."""
