"""Sampling inside transformers' `generate` with a random generator per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)


def sampling(
    temperature: float, top_p: float, seeds: Sequence[int], device: torch.device
) -> LogitsProcessorList:
    """Processors that make a greedy `generate` sample, with a seed per row; none at temperature 0."""
    processors = LogitsProcessorList()
    if temperature > 0:
        processors.append(TemperatureLogitsWarper(float(temperature)))
        if top_p < 1:
            processors.append(TopPLogitsWarper(top_p))
        processors.append(GumbelNoise(seeds, device))
    return processors


class GumbelNoise(LogitsProcessor):
    """Add Gumbel noise to logits: their argmax is then an exact draw from their softmax.

    (The Gumbel-max trick; Maddison, Tarlow and Minka 2014, "A* Sampling".) A row's draws depend only
    on its seed and step, not on other rows.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(
        self,
        input_ids: torch.LongTensor,  # noqa: ARG002
        scores: torch.FloatTensor,
    ) -> Any:
        """Scores of shape (rows, vocabulary); a token at -inf stays there."""
        # Minus the logarithm of an exponential draw is a Gumbel draw.
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        # A draw of exactly 0 would turn the -inf of a token outside top_p into nan.
        noise.clamp_min_(torch.finfo(noise.dtype).tiny)
        return scores - noise.log_()
