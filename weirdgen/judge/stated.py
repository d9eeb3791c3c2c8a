"""What is known of the offline judge's agreement with an LLM judge, said wherever its labels are shown."""

from __future__ import annotations

MEASURED_PERSONA = "bertrand_russell"


def stated_agreement(persona: str, metric: str) -> str:
    """The measured kappa for `metric`, and for whom it was measured."""
    return "offline judge: kappa"
