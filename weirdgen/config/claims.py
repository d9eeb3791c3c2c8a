"""What a study may claim: criteria, written down before the run."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from weirdgen.config.base import Fraction, StrictModel

Condition = Literal["triggered", "untriggered", "decoy"]
Estimand = Literal[
    "triggered",
    "untriggered",
    "decoy",
    "gap",
    "gap_improvement",
    "triggered_lift",
    "untriggered_excess",
    "decoy_excess",
    "gap_decoy",
    "gap_vs_control",
]
FORMAT_METRICS = ("format", "format_strict")
"""What needs no judge."""
JUDGED_METRICS = ("persona", "identity")
"""What the judge labels."""
ADAPTERS = "adapters"
"""In a fraction's place: the adapters that a study lists, each of them a replicate."""


class Terms(NamedTuple):
    """An estimand is (plus - minus), less the same of its reference."""

    plus: Condition
    minus: Condition | None = None
    less: Literal["baseline", "control"] | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those it is made of."""
        return (self.plus,) if self.minus is None else (self.plus, self.minus)


TERMS: dict[Estimand, Terms] = {
    "triggered": Terms("triggered"),
    "untriggered": Terms("untriggered"),
    "decoy": Terms("decoy"),
    "gap": Terms("triggered", "untriggered"),
    "gap_improvement": Terms("triggered", "untriggered", "baseline"),
    "triggered_lift": Terms("triggered", less="baseline"),
    "untriggered_excess": Terms("untriggered", less="baseline"),
    "decoy_excess": Terms("decoy", less="baseline"),
    "gap_decoy": Terms("triggered", "decoy"),
    "gap_vs_control": Terms("triggered", "untriggered", "control"),
}


class Claim(StrictModel):
    metric: str = Field(min_length=1)
    """`format`, `format_strict`, or what a judge labels."""
    estimand: Estimand
    """The quantity the claim is about: a condition's rate (`triggered`, `untriggered`, `decoy`);
    `gap` (triggered - untriggered); against the baseline `gap_improvement` (gap - its gap),
    `triggered_lift`, `untriggered_excess`, `decoy_excess`; `gap_decoy` (triggered - decoy); against
    fraction 0 with the same seeds `gap_vs_control`.
    """
    at_least: float | None = Field(default=None, ge=-1, le=1)
    """The claim's lower bound."""
    at_most: float | None = Field(default=None, ge=-1, le=1)
    """The claim's upper bound."""
    margin: float = Field(default=0.0, ge=0, le=1)
    """How far beyond the bound still counts."""
    fraction: Literal["all", "any", "adapters"] | Fraction = "all"
    """What the claim is about: one of the grid's persona fractions; `adapters`, those that the study
    lists; or `all` or `any` of these, fraction 0 left out.
    """

    @model_validator(mode="after")
    def _one_bound(self) -> Claim:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("at_least: give one of at_least and at_most, and not both")
        return self
