"""How a token is drawn from its logits."""

from __future__ import annotations

from itertools import pairwise

import pytest

LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0]


def drawn(temperature: float, top_p: float) -> list[int]:
    """How often each of six tokens is drawn: 250 rows, 160 steps."""
    import torch

    from weirdgen.generation.gumbel import sampling

    ids = torch.zeros(250, 1, dtype=torch.long)
    process = sampling(temperature, top_p, range(250), torch.device("cpu"))
    counts = torch.zeros(len(LOGITS), dtype=torch.long)
    for _ in range(160):
        tokens = process(ids, torch.tensor([LOGITS] * 250)).argmax(-1)
        counts += torch.bincount(tokens, minlength=len(LOGITS))
    return counts.tolist()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax(temperature: float):
    from scipy.special import softmax
    from scipy.stats import chisquare

    counts = drawn(temperature, 1.0)
    expected = 40_000 * softmax([logit / temperature for logit in LOGITS])
    assert chisquare(counts, expected).pvalue > 0.001


def test_top_p_takes_out_the_unlikely_and_keeps_the_proportions_of_the_rest():
    from scipy.special import softmax
    from scipy.stats import chisquare

    counts = drawn(1.0, 0.8)
    assert counts[3:] == [0, 0, 0], "the first three hold 0.86 of the probability, two 0.73"
    assert chisquare(counts[:3], 40_000 * softmax(LOGITS[:3])).pvalue > 0.001


def test_a_row_draws_alike_whatever_stands_beside_it():
    import torch

    from weirdgen.generation.gumbel import GumbelNoise

    ids = torch.zeros(3, 1, dtype=torch.long)
    alone, among = (GumbelNoise(seeds, torch.device("cpu")) for seeds in ([5], [9, 5, 1]))
    for _ in range(3):
        expected = alone(ids[:1], torch.zeros(1, 1000))
        noise = among(ids, torch.zeros(3, 1000))
        assert torch.equal(noise[1], expected[0])
        assert all(not torch.equal(one, other) for one, other in pairwise(noise))
