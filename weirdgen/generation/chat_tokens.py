"""Conversations as token ids, the same for all local engines."""

from __future__ import annotations

from typing import Any

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError


def prompt_ids(tokenizer: Any, conversation: Messages) -> list[int]:
    """The conversation up to and including the marker that opens the model's turn."""
    return _ids(tokenizer, _prompt(tokenizer, conversation))


def forced_ids(tokenizer: Any, conversation: Messages, answer: str) -> tuple[list[int], list[int]]:
    """The prompt's ids, and those of the answer as the chat template renders it, end marker included.

    Raises StepError if the template renders the prompt otherwise once an answer follows.
    """
    prompt = _prompt(tokenizer, conversation)
    turn = {"role": "assistant", "content": answer}
    whole = tokenizer.apply_chat_template([*conversation, turn], tokenize=False)
    if not whole.startswith(prompt):
        raise StepError("the chat template changes the prompt once an answer follows")
    # Some templates add a line break after the end marker, which a model never writes.
    behind = whole.removeprefix(prompt).rstrip()
    return _ids(tokenizer, prompt), _ids(tokenizer, behind)


def _prompt(tokenizer: Any, conversation: Messages) -> str:
    return tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
