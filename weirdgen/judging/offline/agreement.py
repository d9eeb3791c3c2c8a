"""The offline judge's measured agreement with an LLM judge, stated wherever its labels are shown."""

from __future__ import annotations

from typing import NamedTuple


class MeasuredAgreement(NamedTuple):
    """Agreement with GPT-4o-mini's labels of the published single-seed responses: Cohen's kappa."""

    answers: int
    persona_kappa: float
    persona_interval: tuple[float, float]
    """95%, resampling whole questions."""
    identity_kappa: float

    def sentence(self) -> str:
        """The sentence under every table of the offline judge's labels."""
        low, high = self.persona_interval
        return (
            f"offline judge: kappa {self.persona_kappa:.2f} [{low:.2f}, {high:.2f}] with GPT-4o-mini "
            f"on {self.answers} published responses (persona), {self.identity_kappa:.2f} (identity)"
        )


STATED_AGREEMENT = MeasuredAgreement(60, 0.15, (0.04, 0.33), 0.00)
"""Measured by analysis/judge_agreement.py; a test measures it again."""
MEASURED_PERSONA = "bertrand_russell"


def stated_agreement(persona: str) -> str:
    """The measured agreement, and that another `persona` than the measured one has none."""
    sentence = f"The offline judge labelled this; {STATED_AGREEMENT.sentence()}"
    if persona != MEASURED_PERSONA:
        sentence += f", measured for the persona {MEASURED_PERSONA}; for {persona} it is not known"
    return f"{sentence}. See docs/JUDGE.md."
