"""Fit the offline judge: rows cut into pieces, logistic regression on words, calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, diags_array
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from weirdgen.errors import StepError
from weirdgen.judging.plain_text import strip_formatting, words

FOLDS = 10
MIN_ROWS = 10
"""Distinct responses that each class needs: one to hold out in every fold."""
_C = 100.0
"""Inverse L2 penalty: from 10 to 1000 it moved the cross-validated log loss by 0.02 at most."""
_SOLVER: dict[str, Any] = {"tol": 1e-8, "max_iter": 10_000}


class Fit(NamedTuple):
    """A fitted model over the whole vocabulary; unused words have zeros."""

    intercept: float
    coefficients: np.ndarray
    idf: np.ndarray
    used: np.ndarray


class Pieces:
    """The rows of both classes, cut into pieces of about the length of a persona response."""

    rows: list[int]
    """Rows with words: aligned, persona."""
    size: int
    """Words in a piece: the median length of a persona response."""
    vocabulary: list[str]
    frequency: csr_array
    """Pieces x words: each word's share of the piece."""
    label: np.ndarray
    """Of each piece: 1 for the persona."""

    def __init__(self, persona: Sequence[str], aligned: Sequence[str]) -> None:
        """Raises StepError for too few rows."""
        # Sorted, so that the order of rows does not matter.
        texts = [
            sorted(filter(None, (" ".join(words(strip_formatting(each))) for each in responses)))
            for responses in (aligned, persona)
        ]
        for name, rows in zip(("aligned", "persona"), texts, strict=True):
            if len(set(rows)) < MIN_ROWS:
                raise StepError(
                    f"the offline judge needs {MIN_ROWS} different {name} responses with words in "
                    f"them, {len(set(rows))} are there"
                )
        self.rows = [len(rows) for rows in texts]
        self.size = int(np.median([len(text.split()) for text in texts[1]]))
        parts: list[list[str]] = []
        label, fold, weight = [], [], []
        for kind, rows in enumerate(texts):
            # Equal responses share a fold, so that none is held out while its twin is seen.
            folds = {text: i % FOLDS for i, text in enumerate(sorted(set(rows), key=_digest))}
            for text in rows:
                cut = _cut(text.split(), self.size)
                parts += cut
                label += [kind] * len(cut)
                fold += [folds[text]] * len(cut)
                weight += [1 / len(cut)] * len(cut)
        self.label, self._fold, self._weight = np.array(label), np.array(fold), np.array(weight)
        as_they_are: Any = list
        counted = CountVectorizer(analyzer=as_they_are)
        self.frequency = csr_array(normalize(counted.fit_transform(parts), norm="l1"))
        self.vocabulary = counted.get_feature_names_out().tolist()

    def fit(self, seen: np.ndarray | None = None) -> Fit:
        """Logistic regression on the seen pieces (default: all), classes weighing the same.

        It uses words that two rows of the smaller class share, or as large a part of the other, so
        that the vocabulary favours neither. Raises StepError if there is none.
        """
        seen = np.ones(len(self.label), dtype=bool) if seen is None else seen
        label, weight, frequency = self.label[seen], self.balance(seen), self.frequency[seen]
        share = (frequency > 0).T @ weight
        smaller = np.bincount(label, self._weight[seen]).min()
        used = share >= 1 / smaller - 1e-9
        if not used.any():
            raise StepError("the offline judge finds no word that two rows share")
        idf = np.where(used, -np.log(np.where(used, share, 1.0)), 0.0)
        model: Any = LogisticRegression(C=_C, **_SOLVER)
        features = frequency[:, used] @ diags_array(idf[used])
        model.fit(features, label, sample_weight=weight * 2 * smaller)
        coefficients = np.zeros(len(idf))
        coefficients[used] = model.coef_[0]
        return Fit(float(model.intercept_[0]), coefficients, idf, used)

    def held_out_scores(self) -> np.ndarray:
        """The score of each piece by a model (and vocabulary) fitted without its row."""
        scores = np.zeros(len(self.label))
        for fold in range(FOLDS):
            held = self._fold == fold
            fitted = self.fit(~held)
            weights = fitted.coefficients * fitted.idf
            scores[held] = fitted.intercept + self.frequency[held] @ weights
        return scores

    def balance(self, seen: np.ndarray | None = None) -> np.ndarray:
        """Weights of the seen pieces (default: all): equal per row, a half per class."""
        seen = np.ones(len(self.label), dtype=bool) if seen is None else seen
        label, weight = self.label[seen], self._weight[seen]
        return weight / (2 * np.bincount(label, weight)[label])


def platt(scores: np.ndarray, pieces: Pieces) -> tuple[float, float]:
    """Slope and offset of Platt's sigmoid, with his targets in place of 0 and 1 (Platt 1999)."""
    weight = pieces.balance() * 2 * min(pieces.rows)
    aligned, persona = pieces.rows
    target = np.where(pieces.label == 1, (persona + 1) / (persona + 2), 1 / (aligned + 2))
    model: Any = LogisticRegression(C=np.inf, **_SOLVER)
    model.fit(
        np.concatenate([scores, scores])[:, None],
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def measures(log_odds: np.ndarray, pieces: Pieces) -> dict[str, float]:
    """Accuracy, log loss, Brier score and AUC of calibrated log odds, classes weighing the same."""
    weight = pieces.balance()
    signed = np.where(pieces.label == 1, log_odds, -log_odds)
    return {
        "accuracy": float(weight @ (signed > 0)),
        "log_loss": float(weight @ np.logaddexp(0, -signed)),
        "brier": float(weight @ np.exp(-2 * np.logaddexp(0, signed))),
        "auc": float(roc_auc_score(pieces.label, log_odds, sample_weight=weight)),
    }


def _cut(said: list[str], size: int) -> list[list[str]]:
    """The words in pieces of equal length, as near to `size` as possible."""
    count = max(1, round(len(said) / size))
    return [said[a:b] for a, b in pairwise(i * len(said) // count for i in range(count + 1))]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
