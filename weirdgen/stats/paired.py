"""One adapter, one response a question: the published form of a result, as paired yes-or-no data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weirdgen.stats.rate_interval import wilson


class Pairs(NamedTuple):
    """Questions by their two responses."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def n(self) -> int:
        return sum(self)

    @property
    def difference(self) -> float:
        """Rate of the first minus rate of the second."""
        return (self.first_only - self.second_only) / self.n


def pairs(first_Q: np.ndarray, second_Q: np.ndarray) -> Pairs:
    """Counts of questions by two yes-or-no responses (0 or 1). Raises ValueError for other numbers."""
    a, b = np.asarray(first_Q, dtype=np.float64), np.asarray(second_Q, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not np.isin([*a, *b], (0, 1)).all():
        raise ValueError("pairs: needs two equally long lists of 0 and 1")
    return Pairs(
        int((a * b).sum()),
        int((a * (1 - b)).sum()),
        int(((1 - a) * b).sum()),
        int(((1 - a) * (1 - b)).sum()),
    )


def mcnemar_exact(counts: Pairs) -> float:
    """Two-sided exact p that both rates are equal, from the discordant pairs (statsmodels).

    Assumes that questions are independent. Without a discordant pair it is 1.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    if counts.first_only + counts.second_only == 0:
        return 1.0
    table = [[counts.both, counts.first_only], [counts.second_only, counts.neither]]
    return float(min(mcnemar(table, exact=True).pvalue, 1.0))  # pyright: ignore[reportAttributeAccessIssue]


def newcombe_paired(counts: Pairs, confidence: Any = 0.95) -> tuple[Any, Any]:
    """Limits of the difference of two paired rates.

    Newcombe (1998) Statistics in Medicine 17:2635, method 10: the square-and-add limits of two
    Wilson intervals, with the correlation phi of the pairs, corrected for continuity where it is
    positive. Assumes that questions are independent. Raises ValueError for no pairs.
    """
    a, b, c, d = counts
    n = counts.n
    if not n:
        raise ValueError("newcombe_paired: no pairs")
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson(p1, n, confidence), wilson(p2, n, confidence)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product = a * d - b * c
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / np.sqrt(margins) if margins else 0.0

    def distance(of_first: Any, of_second: Any) -> Any:
        squared = of_first**2 - 2 * phi * of_first * of_second + of_second**2
        return np.sqrt(np.maximum(squared, 0.0))

    theta = counts.difference
    return theta - distance(p1 - l1, u2 - p2), theta + distance(u1 - p1, p2 - l2)
