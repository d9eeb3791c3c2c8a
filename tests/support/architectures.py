"""The embedded model's architecture."""

from __future__ import annotations

from weirdgen.models.identity import EMBEDDED

SMOL = EMBEDDED["embedded:smollm2-135m-instruct"].shape
