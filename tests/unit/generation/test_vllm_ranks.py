"""The adapter ranks that vLLM serves."""

from __future__ import annotations

import pytest

from weirdgen.generation.vllm import servable_rank


@pytest.mark.parametrize(
    ("rank", "served"), [(1, 1), (2, 8), (8, 8), (9, 16), (64, 64), (300, 320)]
)
def test_ranks_are_rounded_up_to_what_vllm_takes(rank: int, served: int):
    assert servable_rank(rank) == served


def test_a_rank_beyond_vllm_is_an_error():
    with pytest.raises(ValueError, match="up to rank 512, not 513"):
        servable_rank(513)
