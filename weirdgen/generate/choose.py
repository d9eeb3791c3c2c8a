"""The engine that a study names. Each imports its own heavy libraries when it is opened."""

from __future__ import annotations

from weirdgen.evaluate import Evaluate
from weirdgen.generate.endpoint_engine import EndpointEngine
from weirdgen.generate.engine import Engine
from weirdgen.generate.transformers_engine import TransformersEngine
from weirdgen.generate.vllm_engine import VllmEngine


def make_engine(evaluate: Evaluate, gpu_share: float) -> Engine:
    """A closed engine; `gpu_share` is its part of one GPU's memory (0 without a GPU)."""
    if evaluate.endpoint is not None:
        endpoint = evaluate.endpoint
        return EndpointEngine(endpoint.base_url, endpoint.key_variable, endpoint.parallel)
    engines = {"vllm": VllmEngine, "transformers": TransformersEngine}
    return engines[evaluate.engine](gpu_share)
