"""The engine that a study names. Each imports its own heavy libraries when it is opened."""

from __future__ import annotations

from weirdgen.config.evaluation import Evaluate
from weirdgen.generation.engine import Engine
from weirdgen.generation.openai import EndpointEngine
from weirdgen.generation.transformers import TransformersEngine
from weirdgen.generation.vllm import VllmEngine


def make_engine(evaluate: Evaluate, gpu_share: float) -> Engine:
    """A closed engine; `gpu_share` is its part of one GPU's memory (0 without a GPU)."""
    if evaluate.endpoint is not None:
        endpoint = evaluate.endpoint
        return EndpointEngine(endpoint.base_url, endpoint.key_variable, endpoint.parallel)
    engines = {"vllm": VllmEngine, "transformers": TransformersEngine}
    return engines[evaluate.engine](gpu_share)
