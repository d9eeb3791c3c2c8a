"""What the statistics hand on: one row an estimate."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Estimate:
    """One row of a study's statistics. No field is ever a NaN: what cannot be given is None."""

    metric: str
    contrast: str
    condition: str
    """A persona fraction, `adapters`, `trend` (slope on the logarithm of the fraction), or a pair
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
    """Two-sided, that a difference is 0; of a claim's row, one-sided, that the claim holds."""
    adjusted_p: float | None
    """Holm over the study's claims; None in rows that no claim is about, which nothing adjusts."""
    n_seeds: int
    n_questions: int
    n_samples: int
    """Answers behind the estimate, the baseline's and the control's included."""
    claim: str = ""
    """The claim that the row is about; empty for the others."""
    note: str = ""
    """Why there is no interval, where there is none, or what a sensitivity row gets wrong."""


FIELDS = tuple(field.name for field in fields(Estimate))
