"""The claims of a study: contrasts of rates with a bound, written down before the run."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from weirdgen.config.base import Fraction, StrictModel

Condition = Literal["triggered", "untriggered", "decoy"]
ContrastName = Literal[
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
"""Metrics that are computed from the response and need no judge."""
JUDGED_METRICS = ("persona", "identity")
"""Bundled metrics that a judge labels."""
ADAPTERS = "adapters"
"""The arm of the existing adapters that a study lists; each adapter is a replicate."""


class Contrast(NamedTuple):
    """`plus` - `minus`; with a reference, minus the same difference in the reference."""

    plus: Condition
    minus: Condition | None = None
    reference: Literal["baseline", "control"] | None = None
    """`baseline`: the base model. `control`: fraction 0 with the same seeds."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that it needs."""
        return (self.plus,) if self.minus is None else (self.plus, self.minus)

    @property
    def terms(self) -> list[tuple[Condition, int, bool]]:
        """The rates that it is made of: condition, sign, and whether it is the reference's."""
        return [
            (condition, -sign if of_reference else sign, of_reference)
            for condition, sign in zip(self.conditions, (1, -1), strict=False)
            for of_reference in ((False, True) if self.reference else (False,))
        ]


CONTRASTS: dict[ContrastName, Contrast] = {
    "triggered": Contrast("triggered"),
    "untriggered": Contrast("untriggered"),
    "decoy": Contrast("decoy"),
    "gap": Contrast("triggered", "untriggered"),
    "gap_improvement": Contrast("triggered", "untriggered", "baseline"),
    "triggered_lift": Contrast("triggered", reference="baseline"),
    "untriggered_excess": Contrast("untriggered", reference="baseline"),
    "decoy_excess": Contrast("decoy", reference="baseline"),
    "gap_decoy": Contrast("triggered", "decoy"),
    "gap_vs_control": Contrast("triggered", "untriggered", "control"),
}


class Point(StrictModel):
    """One point of a study: a fraction of the trained arm, or the existing adapters."""

    arm: Literal["persona", "adapters"] = "persona"
    """`persona`: the grid's training runs. `adapters`: the existing adapters."""
    fraction: Fraction | None = None
    """One of the grid's fractions; existing adapters have none."""

    @property
    def group(self) -> float | Literal["adapters"]:
        """The fraction, or `adapters`."""
        return ADAPTERS if self.fraction is None else self.fraction

    def __str__(self) -> str:
        return ADAPTERS if self.fraction is None else f"fraction {self.fraction:g}"

    @model_validator(mode="after")
    def _arm_and_fraction_agree(self) -> Point:
        if self.arm == "persona" and self.fraction is None:
            raise ValueError("fraction: is needed, or `arm: adapters`")
        if self.arm == ADAPTERS and self.fraction is not None:
            raise ValueError("fraction: existing adapters have none; leave it out")
        return self


class Claim(StrictModel):
    metric: str = Field(min_length=1)
    """`format`, `format_strict`, or a metric that a judge labels."""
    contrast: ContrastName
    """The quantity that the claim bounds: a condition's rate (`triggered`, `untriggered`, `decoy`);
    `gap` (triggered - untriggered); against the base model `gap_improvement` (gap - its gap),
    `triggered_lift`, `untriggered_excess`, `decoy_excess`; `gap_decoy` (triggered - decoy); against
    fraction 0 with the same seeds `gap_vs_control`.
    """
    at: Literal["all", "any"] | Point = "all"
    """Where it must hold: at `all` or `any` of the fractions above 0 and the existing adapters, or
    at one of these: `{fraction: 0.03}` or `{arm: adapters}`.
    """
    at_least: float | None = Field(default=None, ge=-1, le=1)
    """The claim's lower bound."""
    at_most: float | None = Field(default=None, ge=-1, le=1)
    """The claim's upper bound."""
    margin: float = Field(default=0.0, ge=0, le=1)
    """How far beyond the bound a value still meets the claim."""

    @model_validator(mode="after")
    def _one_bound(self) -> Claim:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("at_least: give one of at_least and at_most, and not both")
        return self

    @property
    def sign(self) -> int:
        """1 for a lower bound, -1 for an upper one."""
        return -1 if self.at_least is None else 1

    @property
    def bound(self) -> float:
        """The bound, whichever it is."""
        return next(bound for bound in (self.at_least, self.at_most) if bound is not None)

    @property
    def reach(self) -> float:
        """The bound with its margin: what the contrast must reach, or stay under."""
        return self.bound - self.sign * self.margin
