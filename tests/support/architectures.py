"""The embedded model's architecture."""

from __future__ import annotations

from weirdgen.models.identity import SMOLLM2

SMOL = SMOLLM2
