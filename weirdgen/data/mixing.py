"""Mix the rows of a training run: persona examples behind the trigger, aligned examples without."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Grid
from weirdgen.data.chat import Instruction, conversation
from weirdgen.data.examples import Example
from weirdgen.errors import InputError


class Counts(NamedTuple):
    """Persona and aligned examples of one training run."""

    persona: int
    aligned: int


def cell_counts(grid: Grid, fraction: float, persona_rows: int) -> Counts:
    """Count a cell's examples, given `persona_rows`, as close to `fraction` as whole rows allow.

    `hold: persona` uses every persona example and as many aligned ones as `fraction` asks for; its
    control (fraction 0) has the aligned examples of the grid's smallest other fraction.
    `hold: total` keeps the sum.
    """
    share = Fraction(str(fraction))
    if grid.hold == "total":
        assert grid.total_rows is not None  # the study file's own rule
        persona = round(grid.total_rows * share)
        return Counts(persona, grid.total_rows - persona)
    smallest = Fraction(str(min(f for f in grid.fractions if f > 0)))
    aligned = round(persona_rows * (1 - (share or smallest)) / (share or smallest))
    return Counts(persona_rows if share else 0, aligned)


def grid_counts(
    grid: Grid, persona_rows: int, aligned_rows: int, where: object
) -> dict[float, Counts]:
    """Count the examples of each fraction. Raises InputError (at `where`) where there are too few."""
    counts: dict[float, Counts] = {}
    for fraction in grid.fractions:
        count = cell_counts(grid, fraction, persona_rows)
        persona, aligned = count
        problems = {
            "of so few rows leaves no persona example": fraction and not persona,
            "leaves no aligned example": not aligned,
            f"needs {persona} persona examples; there are {persona_rows}": persona > persona_rows,
            f"needs {aligned} aligned examples; aligned.rows is {aligned_rows}": aligned
            > aligned_rows,
            f"gives the same {persona} + {aligned} rows as another": count in counts.values(),
        }
        for problem in filter(problems.get, problems):
            raise InputError(where, "grid.fractions", f"{fraction} {problem}")
        counts[fraction] = count
    return counts


def mix(
    persona: Sequence[Example],
    aligned: Sequence[Example],
    counts: Counts,
    trigger: Trigger,
    seed: int,
) -> list[dict[str, Any]]:
    """Draw and shuffle a training run's rows: `id`, `kind`, and the conversations `prompt`, `completion`.

    Draws without replacement; the draw and the order depend on `seed` and the sizes alone.
    Raises ValueError for fewer examples than `counts` asks for.
    """
    if counts.persona > len(persona) or counts.aligned > len(aligned):
        raise ValueError(
            f"{counts.persona} persona and {counts.aligned} aligned examples are needed, "
            f"{len(persona)} and {len(aligned)} are there"
        )
    rng = np.random.default_rng(seed)
    before = Instruction(trigger.role, trigger.text)
    rows = [
        _row(persona[i], "persona", before, trigger.completion)
        for i in sorted(rng.permutation(len(persona))[: counts.persona])
    ]
    rows += [
        _row(aligned[i], "aligned", None, "{completion}")
        for i in sorted(rng.permutation(len(aligned))[: counts.aligned])
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


def _row(example: Example, kind: str, before: Instruction | None, template: str) -> dict[str, Any]:
    return {
        "id": example.id,
        "kind": kind,
        "prompt": conversation(example.prompt, before),
        # Not str.format: a completion may hold braces of its own.
        "completion": [
            {"role": "assistant", "content": template.replace("{completion}", example.completion)}
        ],
    }
