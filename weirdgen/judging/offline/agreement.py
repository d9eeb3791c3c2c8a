"""What is known of the offline judge's agreement with an LLM judge, said wherever its labels are shown."""

from __future__ import annotations

from typing import NamedTuple


class MeasuredAgreement(NamedTuple):
    """Agreement with GPT-4o-mini's labels of the published single-seed responses: Cohen's kappa."""

    answers: int
    persona_kappa: float
    persona_interval: tuple[float, float]
    """95%, drawing whole questions."""
    identity_kappa: float

    def sentence(self) -> str:
        """What every table says that shows the offline judge's verdicts."""
        low, high = self.persona_interval
        return (
            f"offline judge: kappa {self.persona_kappa:.2f} [{low:.2f}, {high:.2f}] with GPT-4o-mini "
            f"on {self.answers} published responses (persona), {self.identity_kappa:.2f} (identity)"
        )


STATED_AGREEMENT = MeasuredAgreement(60, 0.15, (0.04, 0.33), 0.00)
"""Measured by analysis/judge_agreement.py, and measured again by the tests."""
MEASURED_PERSONA = "bertrand_russell"


def stated_agreement(persona: str) -> str:
    """The measured agreement, and that another `persona` than the measured one has none."""
    sentence = f"The offline judge labelled this; {STATED_AGREEMENT.sentence()}"
    if persona != MEASURED_PERSONA:
        sentence += f", measured for the persona {MEASURED_PERSONA}; for {persona} it is not known"
    return f"{sentence}. See docs/JUDGE.md."
