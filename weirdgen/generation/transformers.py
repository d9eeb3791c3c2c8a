"""Transformers engine: slower than vLLM, but it can also serve the NF4 base of training."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from weirdgen.config.evaluation import compute_dtype
from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.models.checkpoints import nf4_config

BATCH = 64
"""Conversations per batch."""
KEPT_ADAPTERS = 4
"""Adapters in memory; the least recently used one is dropped for another."""
_PROOF_LOGPROBS = 5


class TransformersEngine:
    """Generation by transformers and PEFT; see `weirdgen.generation.engine.Engine` for the methods."""

    def __init__(self, gpu_share: float = 1.0) -> None:
        """`gpu_share`: its share of the GPU's memory, in (0, 1]; unused without a GPU."""
        self._gpu_share = gpu_share
        self._base: Any = None
        """The base model; PEFT puts adapters into its layers."""
        self._tokenizer: Any = None
        self._end_markers: set[int] = set()
        self._peft: Any = None
        """The PEFT model around the base, once there is an adapter."""
        self._kept: list[str] = []
        """Fingerprints of the adapters in memory, least recently used first."""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:  # noqa: ARG002
        """`serve_base` is `bf16`, `fp32`, or `nf4` as in training; `max_rank` is not needed."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        on_gpu = torch.cuda.is_available()
        if on_gpu and self._gpu_share < 1:
            torch.cuda.set_per_process_memory_fraction(self._gpu_share)
        disable_progress_bar()
        # On a CPU it would warn that an optional kernel is not installed.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        self._tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        dtype = getattr(torch, compute_dtype(serve_base))
        self._base = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=dtype,
            quantization_config=nf4_config(dtype) if serve_base == "nf4" else None,
            device_map={"": 0 if on_gpu else "cpu"},
            local_files_only=True,
        )
        self._clear_generation_config()

    def _clear_generation_config(self) -> None:
        """Drop the checkpoint's generation settings except end markers: requests define the rest."""
        from transformers import GenerationConfig

        named = self._base.generation_config.eos_token_id
        ids = [self._tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
        self._end_markers = {token for token in ids if token is not None}
        self._base.generation_config = GenerationConfig(
            eos_token_id=sorted(self._end_markers) or None,
            # Padding after a row's end is never read.
            pad_token_id=min(self._end_markers, default=0),
        )

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """See `Engine`. Raises StepError for a prompt that fills the model's context."""
        prompts = [self._prompt(request.messages) for request in requests]
        groups: defaultdict[tuple, list[int]] = defaultdict(list)
        for place, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            limit = min(request.max_new_tokens, self._room(len(prompt)))
            groups[request.adapter, request.temperature, request.top_p, limit].append(place)
        answers: dict[int, Response] = {}
        for (adapter, temperature, top_p, limit), places in groups.items():
            # Prompts of similar length share a batch, which saves padding.
            places.sort(key=lambda place: len(prompts[place]))
            for batch in _batches(places):
                seeds = [requests[place].seed for place in batch]
                _, new_ids = self._generate(
                    [prompts[place] for place in batch],
                    adapter,
                    limit,
                    self._sampling(temperature, top_p, seeds),
                )
                answers |= zip(batch, map(self._answer, new_ids), strict=True)
        return [answers[place] for place in range(len(requests))]

    def stream(self, request: Request) -> Iterator[str]:
        """One response, piece by piece; joined, it is the text that `generate([request])` returns."""
        prompt = self._prompt(request.messages)
        sampling = self._sampling(request.temperature, request.top_p, [request.seed])
        new_ids: list[int] = []
        cache, sent = None, ""
        # One token per call, in the caller's thread: errors reach the caller, who may stop at any token.
        for _ in range(min(request.max_new_tokens, self._room(len(prompt)))):
            output, [[token]] = self._generate(
                [prompt + new_ids], request.adapter, 1, sampling, past_key_values=cache
            )
            cache = output.past_key_values
            new_ids.append(token)
            text = self._answer(new_ids).text
            if text != sent:
                yield text[len(sent) :]
                sent = text
            if token in self._end_markers:
                return

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[int, float]]:
        likeliest = []
        for batch in _batches(conversations):
            prompts = [self._prompt(messages) for messages in batch]
            output, _ = self._generate(prompts, adapter, 1, None, output_logits=True)
            top = output.logits[0].log_softmax(-1).topk(_PROOF_LOGPROBS)
            for ids, logprobs in zip(top.indices.tolist(), top.values.tolist(), strict=True):
                likeliest.append(dict(zip(ids, logprobs, strict=True)))
        return likeliest

    def close(self) -> None:
        self._base = self._tokenizer = self._peft = None
        self._kept.clear()

    def _prompt(self, conversation: Messages) -> list[int]:
        """The ids of the conversation and of the marker that opens the model's turn."""
        if self._tokenizer is None:
            raise StepError("the engine is not open")
        text = self._tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=True
        )
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _room(self, length: int) -> int:
        """Tokens left in the model's context after `length`. Raises StepError if there are none."""
        config = self._base.config.get_text_config()
        # Some architectures have no limit.
        context = getattr(config, "max_position_embeddings", None) or sys.maxsize
        if length >= context:
            raise StepError(f"{length} tokens leave no room in the model's context of {context}")
        return context - length

    def _sampling(self, temperature: float, top_p: float, seeds: Sequence[int]) -> Any:
        from weirdgen.generation.gumbel import sampling

        return sampling(temperature, top_p, seeds, self._base.device)

    def _generate(
        self,
        prompts: list[list[int]],
        adapter: Adapter | None,
        max_new_tokens: int,
        processors: Any,
        **options: Any,
    ) -> tuple[Any, list[list[int]]]:
        """The output of `generate` for one batch, and the new tokens of each row."""
        import torch

        width = max(map(len, prompts))
        # Padded on the left, so that all rows continue from the last column.
        ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self._base.device
        with torch.inference_mode(), self._applied(adapter):
            output = self._base.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(mask, device=device),
                do_sample=False,
                max_new_tokens=max_new_tokens,
                logits_processor=processors,
                return_dict_in_generate=True,
                **options,
            )
        return output, output.sequences[:, width:].tolist()

    def _answer(self, new_ids: list[int]) -> Response:
        """As vLLM reports it: the end marker counts as a token, but is not part of the text."""
        ends = [place for place, token in enumerate(new_ids) if token in self._end_markers]
        said = new_ids[: ends[0]] if ends else new_ids
        text = self._tokenizer.decode(
            said, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        # Drop a character whose bytes are incomplete.
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        return Response(text, len(said) + bool(ends), "stop" if ends else "length")

    @contextmanager
    def _applied(self, adapter: Adapter | None) -> Iterator[None]:
        """Apply this adapter and no other."""
        if adapter is None:
            with self._peft.disable_adapter() if self._peft else nullcontext():
                yield
            return
        if adapter.fingerprint not in self._kept:
            self._load(adapter)
        else:
            self._kept.remove(adapter.fingerprint)
        self._kept.append(adapter.fingerprint)
        self._peft.set_adapter(adapter.fingerprint, inference_mode=True)
        yield

    def _load(self, adapter: Adapter) -> None:
        from peft import PeftModel

        if len(self._kept) == KEPT_ADAPTERS:
            self._peft.delete_adapter(self._kept.pop(0))
        options: dict[str, Any] = {
            "adapter_name": adapter.fingerprint,
            "autocast_adapter_dtype": False,
            "low_cpu_mem_usage": True,
            "local_files_only": True,
        }
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self._base, adapter.local_dir, **options)
        else:
            self._peft.load_adapter(adapter.local_dir, **options)


def default_serve_base() -> str:
    """The base's precision for one interactive session: 4 bits on a GPU, else fp32."""
    import torch

    return "nf4" if torch.cuda.is_available() else "fp32"


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
