"""The rows of a pass, packed without padding between them: one behind the other, a line per training.

Passes come in few sizes, so that a GPU can record the work of each size once and replay it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from weirdgen.errors import StepError
from weirdgen.models.memory import LENGTH_STEP
from weirdgen.training.trl import TrainSpec, check_mask

LEARNT_STEP = 1024
"""Slots for learnt tokens come in multiples of this."""


class Row(NamedTuple):
    """A tokenized row."""

    input_ids: list[int]
    completion_mask: list[int]
    """1 where there is loss: the completion and its end marker."""


class Size(NamedTuple):
    """Capacity of a pass's tensors."""

    lines: int
    """N training runs."""
    rows: int
    """Rows of a line, padding rows included."""
    tokens: int
    """L tokens of a line."""
    longest: int
    """Tokens of the longest row."""
    learnt: int
    """T tokens that are learnt, over all lines."""


class Packed(NamedTuple):
    """The tensors of a pass."""

    ids_NL: torch.Tensor
    positions_NL: torch.Tensor
    starts: torch.Tensor
    """Where each row begins in the N x L tokens, then N x L; what is left of its room repeats that."""
    at_T: torch.Tensor
    """Positions, in the N x L tokens, whose next token is learnt."""
    labels_T: torch.Tensor
    adapter_T: torch.Tensor
    """The line of each."""
    weight_T: torch.Tensor
    """The weight of its loss; 0 where T is more than there is to learn."""


Batches = Sequence[Sequence[Row]]
"""The rows of a pass: a batch per training run."""


def tokenize(specs: Sequence[TrainSpec], tokenizer: Any) -> list[list[Row]]:
    """Each training run's rows as tokens, with loss on completions alone.

    Rows that several training runs have are tokenized once. Raises StepError as `check_mask` does.
    """
    keys = [[repr((row["prompt"], row["completion"])) for row in spec.rows] for spec in specs]
    distinct: dict[str, dict[str, Any]] = {}
    for spec, of_spec in zip(specs, keys, strict=True):
        for key, row in zip(of_spec, spec.rows, strict=True):
            distinct.setdefault(key, row)
    tokenized = {key: _tokenize(row, tokenizer) for key, row in distinct.items()}
    tokens = [row._asdict() for row in tokenized.values()]
    check_mask(tokens, list(distinct.values()), tokenizer, specs[0].settings.max_length)
    return [[tokenized[key] for key in of_spec] for of_spec in keys]


def _tokenize(row: dict[str, Any], tokenizer: Any) -> Row:
    of: dict[str, Any] = {"tokenize": True, "return_dict": False}
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **of)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], **of)
    return Row(whole, [0] * len(prompt) + [1] * (len(whole) - len(prompt)))


def sizes(passes: Iterable[Batches], micro_batch: int) -> list[Size]:
    """The size of each pass. Passes whose lines are padded to the same length share a size."""
    measured = []
    for batches in passes:
        tokens = max(sum(len(row.input_ids) for row in batch) for batch in batches)
        learnt = sum(sum(row.completion_mask[1:]) for batch in batches for row in batch)
        longest = max(len(row.input_ids) for batch in batches for row in batch)
        measured.append((_up(tokens, LENGTH_STEP), longest, learnt, len(batches)))
    longest = _up(max(longest for _, longest, *_ in measured), LENGTH_STEP)
    most: dict[int, int] = {}
    for tokens, _, learnt, _ in measured:
        most[tokens] = max(most.get(tokens, 0), learnt)
    return [
        Size(
            lines,
            micro_batch + tokens // LENGTH_STEP,
            tokens,
            longest,
            _up(most[tokens], LEARNT_STEP),
        )
        for tokens, _, _, lines in measured
    ]


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def pack(batches: Batches, size: Size, weights: Sequence[float], pad: int) -> Packed:
    """The tensors of one pass, on the CPU. `weights`: of a learnt token's loss, for each line."""
    ids: list[int] = []
    positions: list[int] = []
    starts = [0]
    at: list[int] = []
    adapters: list[int] = []
    for n, batch in enumerate(batches):
        for row in batch:
            begin = starts[-1]
            # Each position predicts the next token.
            at += [begin + i - 1 for i, on in enumerate(row.completion_mask) if on and i]
            starts.append(begin + len(row.input_ids))
            ids += row.input_ids
            positions += range(len(row.input_ids))
        adapters += [n] * (len(at) - len(adapters))
        while short := (n + 1) * size.tokens - starts[-1]:
            short = min(short, LENGTH_STEP)  # no padding row is longer than the rows need be
            starts.append(starts[-1] + short)
            ids += [pad] * short
            positions += range(short)
    if len(starts) > size.lines * size.rows + 1 or len(at) > size.learnt:
        raise StepError(f"a pass of {len(starts) - 1} rows and {len(at)} learnt tokens in {size}")
    spare = size.learnt - len(at)
    return Packed(
        torch.tensor(ids).view(size.lines, size.tokens),
        torch.tensor(positions).view(size.lines, size.tokens),
        torch.tensor(
            starts + [starts[-1]] * (size.lines * size.rows + 1 - len(starts)), dtype=torch.int32
        ),
        torch.tensor(at + [0] * spare),
        torch.tensor([ids[i + 1] for i in at] + [0] * spare),
        torch.tensor(adapters + [0] * spare),
        torch.tensor([weights[n] for n in adapters] + [0.0] * spare),
    )
