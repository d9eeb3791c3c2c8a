"""Create the engine that a study names; each imports its heavy libraries when opened."""

from __future__ import annotations

from weirdgen.config.evaluation import Evaluate
from weirdgen.generation.engine import Engine
from weirdgen.generation.openai import EndpointEngine
from weirdgen.generation.transformers import TransformersEngine
from weirdgen.generation.vllm import VllmEngine


def make_engine(evaluate: Evaluate, gpu_share: float) -> Engine:
    """An engine that is not open yet; `gpu_share` is its share of one GPU's memory (0: no GPU)."""
    if evaluate.endpoint is not None:
        endpoint = evaluate.endpoint
        return EndpointEngine(endpoint.base_url, endpoint.key_variable, endpoint.parallel)
    engines = {"vllm": VllmEngine, "transformers": TransformersEngine}
    return engines[evaluate.engine](gpu_share)
