"""Multiple claims and interim looks: how the error of a verdict is shared among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

ERROR = 0.025
"""One-sided error of all supports of a study together, and of all refutes."""

OffLook = Literal["before the planned seeds", "between looks", "after the last look"]
"""Where a study stands that is not at a declared look."""


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given (statsmodels `multipletests`, method holm).

    Source: Holm (1979). No assumption of how the claims depend on each other. Empty in, empty out.
    """
    if not len(p):
        return []
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(np.asarray(p, dtype=float), method="holm")[1]).tolist()


def holm_min_p(p: Sequence[float]) -> float:
    """p that a claim holds at some place: the smallest, Holm-adjusted."""
    return min(holm(p))


@dataclass(frozen=True)
class InterimLooks:
    """How many training runs the study's record declares before a verdict may be given."""

    seeds: tuple[int, ...]
    """Numbers of training runs at which the data are looked at, rising; one is the planned S alone."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.seeds))
        if not self.seeds or not rising or self.seeds[0] < 1:
            raise ValueError(f"looks: numbers of seeds must rise from 1 on, not {self.seeds}")

    def state(self, n_trained: int) -> OffLook | None:
        """Where a study with `n_trained` training runs, failed ones included, stands; None: at a look."""
        if n_trained in self.seeds:
            return None
        if n_trained < self.seeds[0]:
            return "before the planned seeds"
        return "between looks" if n_trained < self.seeds[-1] else "after the last look"

    def error(self, n_trained: int) -> float:
        """One-sided error of the look at `n_trained`: ERROR shared equally (Bonferroni over looks).

        0 where none was declared.
        """
        return ERROR / len(self.seeds) if n_trained in self.seeds else 0.0
