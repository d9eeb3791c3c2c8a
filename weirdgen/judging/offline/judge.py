"""The offline judge: a small linear classifier of words, learned from a study's own rows.

It tells the persona's answers from the base model's. A piece of text is scored by the mean over its
words of a weight per word, so length cannot move a score: saying the same twice changes nothing.
Answers are learned from in pieces of about as many words as a persona answer has, because the
spread of such a mean does depend on length. Each answer weighs the same, and so does each class:
a probability means what it would if half of all answers were the persona's.

It is a stand-in for an LLM judge, never the evidence: see docs/JUDGE.md for what it cannot do.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from weirdgen.errors import InputError, StepError
from weirdgen.judging.plain_text import strip_formatting, words

EVIDENCE_WORDS = 3
"""At most so many words for the verdict, and so many against it."""
_DECIMALS = 4


class OfflinePrediction(NamedTuple):
    """The judge's verdict on one answer."""

    persona: bool
    confidence: float
    """The calibrated probability of this label, in [0.5, 1]."""
    evidence: tuple[tuple[str, float], ...]
    """The words that weighed most, with what each added to the log odds of the persona."""


class HeldOut(BaseModel):
    """How well pieces were told apart by models that had not seen their rows; classes weigh the same."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    accuracy: float
    log_loss: float
    brier: float
    auc: float


class OfflineJudge(BaseModel):
    """A learned judge. It is data: scoring needs nothing but these numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    persona_rows: int
    ordinary_rows: int
    piece_words: int
    """The median length of a persona answer."""
    intercept: float
    coefficients: dict[str, float]
    """Of a word's frequency times its idf."""
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

    def judge(self, answers: Sequence[str], marks: Sequence[str] = ()) -> list[OfflinePrediction]:
        """The verdicts on `answers`; `marks` describe the study's format (see `bare`).

        An answer without any word is false with confidence 1.
        """
        weights = {w: self.slope * c * self.idf[w] for w, c in self.coefficients.items()}
        bias = self.slope * self.intercept + self.offset
        return [
            _verdict(words(strip_formatting(answer, marks)), weights, bias) for answer in answers
        ]

    def save(self, path: Path) -> None:
        """Writes the judge as one JSON file; equal judges give equal bytes."""
        text = json.dumps(self.model_dump(), indent=1, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")

    @staticmethod
    def load(path: Path) -> OfflineJudge:
        """The judge saved at `path`. Raises InputError for a file that is none."""
        try:
            return OfflineJudge.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(path, None, f"cannot be read ({error.strerror})") from None
        except ValidationError as error:
            first = error.errors()[0]
            # A key of the file may hold anything, line breaks too.
            field = " ".join(".".join(map(str, first["loc"])).split()) or None
            raise InputError(path, field, f"is no offline judge: {first['msg']}") from None


def learn(persona_answers: Sequence[str], ordinary_answers: Sequence[str]) -> OfflineJudge:
    """The judge that tells `persona_answers` from `ordinary_answers`, whatever their order.

    For the ordinary side give the base model's plain answers to the persona rows' own questions,
    and at most as many everyday answers beside them: from everyday answers alone it learns the
    topic as well as the voice. Calibrated by Platt's method on cross-validated scores; the held-out
    numbers are of those scores after that two-parameter fit. Raises StepError for too few rows, or
    for rows that cannot be told apart.
    """
    from weirdgen.judging.offline.fitting import (  # scikit-learn loads slowly
        Pieces,
        measures,
        platt,
    )

    pieces = Pieces(persona_answers, ordinary_answers)
    scores = pieces.held_out_scores()
    slope, offset = platt(scores, pieces)
    if slope <= 0:
        raise StepError(
            "the persona's answers cannot be told from the ordinary ones by their words"
        )
    fitted = pieces.fit()
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
        held_out=HeldOut(
            **{
                name: _rounded(value)
                for name, value in measures(slope * scores + offset, pieces).items()
            }
        ),
    )


def _verdict(said: list[str], weights: dict[str, float], bias: float) -> OfflinePrediction:
    if not said:
        return OfflinePrediction(False, 1.0, ())
    added = {
        word: weights[word] * count / len(said)
        for word, count in Counter(said).items()
        if word in weights
    }
    log_odds = bias + math.fsum(added.values())
    ranked = sorted(added.items(), key=lambda item: (item[1], item[0]))
    chosen = [pair for pair in ranked[:EVIDENCE_WORDS] if pair[1] < 0]
    chosen += [pair for pair in ranked[::-1][:EVIDENCE_WORDS] if pair[1] > 0]
    evidence = sorted(chosen, key=lambda item: (-abs(item[1]), item[0]))
    # Beyond 700 the exponential overflows; the sigmoid is 1 long before.
    confidence = 1 / (1 + math.exp(-min(abs(log_odds), 700.0)))
    return OfflinePrediction(
        log_odds > 0,
        round(confidence, _DECIMALS),
        tuple((word, round(weight, 3)) for word, weight in evidence),
    )


def _rounded(value: float) -> float:
    """Rounded so that the last bits of another processor do not show."""
    return round(float(value), _DECIMALS)
