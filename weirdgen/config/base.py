"""Strict pydantic models: unknown fields, coercions and infinite numbers are errors."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class StrictModel(BaseModel):
    """Immutable; a string under a field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("the same value appears twice")
    return values


Distinct = AfterValidator(_distinct)
"""A list without repetition."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""A share of persona examples."""


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError if it is not a number
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password or parts.query:
        raise ValueError("must hold no user, password or query; keys live in the environment")
    return url


BaseUrl = Annotated[str, AfterValidator(_without_secrets)]
"""The address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."""
KeyVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The environment variable that holds an endpoint's key; the key itself is in no file."""
