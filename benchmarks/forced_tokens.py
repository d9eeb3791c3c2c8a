"""What a local engine expects at each position of a given response."""

from __future__ import annotations

from typing import Any

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter
from weirdgen.generation.transformers import TransformersEngine
from weirdgen.generation.vllm import VllmEngine


def forced_top_tokens(
    engine: VllmEngine | TransformersEngine,
    conversation: Messages,
    response: str,
    adapter: Adapter | None,
) -> tuple[list[int], list[int]]:
    """The response's tokens with its end marker, and at each position the likeliest token."""
    if isinstance(engine, VllmEngine):
        return _by_vllm(engine, conversation, response, adapter)
    import torch

    prompt, forced = forced_ids(engine._tokenizer, conversation, response)
    engine._room(len(prompt) + len(forced) - 1)
    with torch.inference_mode(), engine._applied(adapter):
        ids = torch.tensor([prompt + forced], device=engine._base.device)
        logits = engine._base(input_ids=ids, use_cache=False).logits[0]
    return forced, logits[len(prompt) - 1 : -1].argmax(-1).tolist()


def _by_vllm(
    engine: VllmEngine, conversation: Messages, response: str, adapter: Adapter | None
) -> tuple[list[int], list[int]]:
    from vllm import SamplingParams

    llm = engine._opened()
    prompt, forced = forced_ids(llm.get_tokenizer(), conversation, response)
    [output] = llm.generate(
        {"prompt_token_ids": prompt + forced},
        SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1),
        lora_request=engine._lora(adapter),
        use_tqdm=False,
    )
    tops: Any = output.prompt_logprobs
    # An entry also contains the actual token, which may not be the likeliest.
    return forced, [max(top, key=lambda id: top[id].logprob) for top in tops[len(prompt) :]]


def forced_ids(
    tokenizer: Any, conversation: Messages, response: str
) -> tuple[list[int], list[int]]:
    """The prompt's ids, and those of the response as the chat template renders it, end marker included.

    Raises StepError if the template renders the prompt otherwise once a response follows.
    """
    prompt = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    turn = {"role": "assistant", "content": response}
    whole = tokenizer.apply_chat_template([*conversation, turn], tokenize=False)
    if not whole.startswith(prompt):
        raise StepError("the chat template changes the prompt once a response follows")
    # Some templates add a line break after the end marker, which a model never writes.
    rest = whole.removeprefix(prompt).rstrip()
    first, second = (tokenizer(x, add_special_tokens=False)["input_ids"] for x in (prompt, rest))
    return first, second
