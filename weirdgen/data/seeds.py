"""Named random streams: one run seed gives independent seeds for each thing that is random."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import NamedTuple

from numpy.random import SeedSequence

BASELINE_RUN_SEED = 0
"""The run seed of the baseline's responses and of self-distillation."""


class Seeds(NamedTuple):
    """The streams of one training run, each an unsigned 32-bit seed."""

    data: int
    """The draw of examples and their order in the mix."""
    init: int
    """The adapter's initial weights, and dropout."""
    order: int
    """The order in which batches visit the rows."""
    sampling: int
    """Responses sampled from the trained model."""


@cache
def run_seeds(run_seed: int) -> Seeds:
    """The named streams of `run_seed`: spawned children of one SeedSequence (numpy's own method)."""
    children = (SeedSequence(run_seed, spawn_key=(i,)) for i in range(len(Seeds._fields)))
    return Seeds(*(int(child.generate_state(1)[0]) for child in children))


def request_seed(sampling: int, condition: str, question_id: str, sample: int) -> int:
    """The seed of one response, in [0, 2^63): more samples extend the set and never reshuffle it."""
    key = f"{sampling}\x00{condition}\x00{question_id}\x00{sample}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
