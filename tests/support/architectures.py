"""Shared by tests: gPU memory of trainings and engines: against peaks measured on an H100, and by hand."""

from __future__ import annotations

from weirdgen.models.identity import EMBEDDED

SMOL = EMBEDDED["embedded:smollm2-135m-instruct"].shape
