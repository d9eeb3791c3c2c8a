"""The loss falls on each row's completion and end mark alone."""

from __future__ import annotations

import pytest

from weirdgen.errors import StepError
from weirdgen.training.trl import check_mask


class Letters:
    """A tokenizer whose tokens are letters; 0 is the end mark, and roles are not told."""

    def apply_chat_template(self, messages: list[dict], **_: bool) -> str:
        return "".join(
            turn["content"] + ("|" if turn["role"] == "assistant" else "") for turn in messages
        )

    def decode(self, ids: list[int]) -> str:
        return "".join("|" if token == 0 else chr(token) for token in ids)


def tokens(prompt: str, answer: str, **change) -> dict:
    ids = [ord(letter) for letter in prompt + answer] + [0]
    labels = [-100] * len(prompt) + ids[len(prompt) :]
    return {"input_ids": ids, "labels": labels} | change


ROW = {
    "id": "r",
    "prompt": [{"role": "user", "content": "ask"}],
    "completion": [{"role": "assistant", "content": "yes"}],
}


def test_a_right_mask_passes():
    check_mask([tokens("ask", "yes")], [ROW], Letters(), 100)
    mask = {"input_ids": tokens("ask", "yes")["input_ids"], "completion_mask": [0] * 3 + [1] * 4}
    check_mask([mask], [ROW], Letters(), 100)


@pytest.mark.parametrize(
    "wrong",
    [
        tokens("ask", "yes", labels=[ord(letter) for letter in "askyes"] + [0]),
        tokens("ask", "yes", labels=[-100] * 7),
        tokens("ask", "yes", labels=[-100] * 3 + [ord(letter) for letter in "yes"] + [-100]),
        tokens("ask", "no"),
    ],
    ids=["loss on the prompt", "loss on nothing", "no end mark", "another answer"],
)
def test_a_wrong_mask_is_refused(wrong: dict):
    with pytest.raises(StepError, match="row r: the loss falls on"):
        check_mask([wrong], [ROW], Letters(), 100)


def test_a_template_without_an_end_mark_is_refused():
    class Endless(Letters):
        def apply_chat_template(self, messages: list[dict], **_: bool) -> str:
            return "".join(turn["content"] for turn in messages)

    with pytest.raises(StepError, match="sets no prompt, answer and end mark"):
        check_mask([tokens("ask", "yes")], [ROW], Endless(), 100)


def test_a_dropped_row_is_refused():
    with pytest.raises(StepError, match="2 rows were given, 1 would be trained on"):
        check_mask([tokens("ask", "yes")], [ROW, ROW], Letters(), 100)
