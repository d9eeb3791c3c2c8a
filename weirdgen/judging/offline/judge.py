"""The offline judge: a small linear classifier of words, learned from a study's own rows.

It separates the persona's responses from the base model's. A text's score is the mean over its words
of a weight per word, so length does not matter: repeating a text changes nothing. The spread of such
a mean does depend on length, so the classifier is fitted on pieces of about the length of a persona
response. Each response weighs the same, and so does each class: probabilities assume that half of all
responses are the persona's.

It replaces an LLM judge where there is none, and is never evidence: docs/JUDGE.md says what it misses.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import ValidationError, model_validator

from weirdgen.config.base import StrictModel
from weirdgen.errors import InputError, StepError
from weirdgen.judging.plain_text import strip_formatting, words

EVIDENCE_WORDS = 3
"""Most words listed for the persona, and against it."""
_DECIMALS = 4


class OfflinePrediction(NamedTuple):
    """The judge's label of one response."""

    persona: bool
    confidence: float
    """The calibrated probability of this label, in [0.5, 1]."""
    evidence: tuple[tuple[str, float], ...]
    """The words with the largest contributions to the log odds of the persona."""


class HeldOut(StrictModel):
    """Cross-validated performance on pieces of held-out rows; classes weigh the same."""

    accuracy: float
    log_loss: float
    brier: float
    auc: float


class OfflineJudge(StrictModel):
    """A fitted judge; scoring needs only these numbers."""

    persona_rows: int
    ordinary_rows: int
    piece_words: int
    """The median length of a persona response."""
    intercept: float
    coefficients: dict[str, float]
    """Word -> coefficient of its frequency times its idf."""
    idf: dict[str, float]
    """-log of the share of pieces with the word, classes weighing the same."""
    slope: float
    offset: float
    """Platt's calibration: log odds = slope * score + offset."""
    held_out: HeldOut

    @model_validator(mode="after")
    def _same_words(self) -> Self:
        if self.coefficients.keys() != self.idf.keys():
            raise ValueError("coefficients and idf must be of the same words")
        return self

    def judge(
        self, responses: Sequence[str], markers: Sequence[str] = ()
    ) -> list[OfflinePrediction]:
        """Label `responses`; `markers` describe the study's format (see `strip_formatting`).

        A response without any word is not the persona's, with confidence 1.
        """
        weights = {w: self.slope * c * self.idf[w] for w, c in self.coefficients.items()}
        bias = self.slope * self.intercept + self.offset
        return [
            _predict(words(strip_formatting(response, markers)), weights, bias)
            for response in responses
        ]

    def save(self, path: Path) -> None:
        """Write the judge as one JSON file; equal judges give equal bytes."""
        text = json.dumps(self.model_dump(), indent=1, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")

    @staticmethod
    def load(path: Path) -> OfflineJudge:
        """Load the judge saved at `path`. Raises InputError for any other file."""
        try:
            return OfflineJudge.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(path, None, f"cannot be read ({error.strerror})") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or None
            raise InputError(path, field, f"is no offline judge: {first['msg']}") from None


def learn(persona_responses: Sequence[str], aligned_responses: Sequence[str]) -> OfflineJudge:
    """Fit the judge that separates `persona_responses` from `aligned_responses`, in any order.

    The aligned side should be the base model's responses to the persona rows' own questions, and at
    most as many to everyday questions: from everyday questions alone it learns the topic as well as
    the voice. Calibrated by Platt's method on cross-validated scores; the held-out numbers are of
    those scores after that two-parameter fit. Raises StepError for too few rows, or for classes that
    cannot be separated.
    """
    from weirdgen.judging.offline.fitting import (  # scikit-learn loads slowly
        Pieces,
        measures,
        platt,
    )

    pieces = Pieces(persona_responses, aligned_responses)
    scores = pieces.held_out_scores()
    slope, offset = platt(scores, pieces)
    if slope <= 0:
        raise StepError(
            "the persona's responses cannot be told from the aligned ones by their words"
        )
    fitted, measured = pieces.fit(), measures(slope * scores + offset, pieces)
    kept = [i for i, used in enumerate(fitted.used) if used]
    return OfflineJudge(
        persona_rows=pieces.rows[1],
        ordinary_rows=pieces.rows[0],
        piece_words=pieces.size,
        intercept=_rounded(fitted.intercept),
        coefficients={pieces.vocabulary[i]: _rounded(fitted.coefficients[i]) for i in kept},
        idf={pieces.vocabulary[i]: _rounded(fitted.idf[i]) for i in kept},
        slope=_rounded(slope),
        offset=_rounded(offset),
        held_out=HeldOut(**{name: _rounded(value) for name, value in measured.items()}),
    )


def _predict(text: list[str], weights: dict[str, float], bias: float) -> OfflinePrediction:
    if not text:
        return OfflinePrediction(False, 1.0, ())
    added = {
        word: weights[word] * count / len(text)
        for word, count in Counter(text).items()
        if word in weights
    }
    log_odds = bias + math.fsum(added.values())
    ranked = sorted(added.items(), key=lambda item: (item[1], item[0]))
    chosen = [pair for pair in ranked[:EVIDENCE_WORDS] if pair[1] < 0]
    chosen += [pair for pair in ranked[::-1][:EVIDENCE_WORDS] if pair[1] > 0]
    evidence = sorted(chosen, key=lambda item: (-abs(item[1]), item[0]))
    # The exponential overflows above 700, where the sigmoid is 1 anyway.
    confidence = 1 / (1 + math.exp(-min(abs(log_odds), 700.0)))
    return OfflinePrediction(
        log_odds > 0,
        round(confidence, _DECIMALS),
        tuple((word, round(weight, 3)) for word, weight in evidence),
    )


def _rounded(value: float) -> float:
    """Round away the last bits, which differ between processors."""
    return round(float(value), _DECIMALS)
