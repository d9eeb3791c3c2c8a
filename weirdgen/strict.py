"""The base of every model in a study file: nothing unknown, nothing coerced, nothing infinite."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class StrictModel(BaseModel):
    """Immutable; a string under a field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("the same value stands twice")
    return values


Distinct = AfterValidator(_distinct)
"""A list without repetition."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""A share of persona rows."""
