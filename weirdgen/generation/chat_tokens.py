"""Conversations as token ids, the same for every engine that runs on this machine."""

from __future__ import annotations

from typing import Any

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError


def prompt_ids(tokenizer: Any, conversation: Messages) -> list[int]:
    """The conversation up to and with the mark that opens the model's turn."""
    return _ids(tokenizer, _prompt(tokenizer, conversation))


def forced_ids(tokenizer: Any, conversation: Messages, answer: str) -> tuple[list[int], list[int]]:
    """The prompt, and behind it the answer as the chat template sets it, its end mark included.

    Raises StepError where the template writes the prompt otherwise once it is answered.
    """
    prompt = _prompt(tokenizer, conversation)
    turn = {"role": "assistant", "content": answer}
    whole = tokenizer.apply_chat_template([*conversation, turn], tokenize=False)
    if not whole.startswith(prompt):
        raise StepError("the chat template writes the prompt otherwise once it is answered")
    # Behind the end mark some templates break the line; a model never says that.
    behind = whole.removeprefix(prompt).rstrip()
    return _ids(tokenizer, prompt), _ids(tokenizer, behind)


def _prompt(tokenizer: Any, conversation: Messages) -> str:
    return tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
