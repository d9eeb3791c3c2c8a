"""The layout of the published single-seed outputs: a line per question, with a response per condition.

A line has `question`, perhaps `category`, and for each condition `<condition>_response`,
`<condition>_format` (true or false) and `<condition>_judgment`: `persona_present`, `identity`
(RUSSELL, OTHER, UNSURE) and `confidence` (0 to 1). Other columns belong to all its responses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from weirdgen.config.claims import Condition
from weirdgen.data.tabular import Row
from weirdgen.errors import InputError
from weirdgen.results.import_columns import MISSING, identity_label, truth

CONDITIONS: tuple[str, ...] = get_args(Condition)
MALFORMED = "malformed"
"""The judge error of a judgment that lacks a label."""


def is_published(row: Row) -> bool:
    """Whether a row has the published layout."""
    return "question" in row and bool(conditions_of(row))


def conditions_of(row: Row) -> tuple[str, ...]:
    """The conditions of a row's responses."""
    return tuple(name for name in CONDITIONS if f"{name}_response" in row)


def responses_of(path: Path, number: int, row: Row, conditions: tuple[str, ...]) -> Iterator[Row]:
    """One row per condition, in the columns of results.

    A judgment that is null or lacks a label gives null labels and a judge error. Raises InputError for a
    response that is no text, and for conditions other than `conditions`.
    """
    where = f"row {number}"
    if conditions_of(row) != conditions:
        problem = f"has responses of {', '.join(conditions_of(row)) or 'no condition'}"
        raise InputError(path, where, f"{problem}, the first row of {', '.join(conditions)}")
    common = {name: row[name] for name in row if name.partition("_")[0] not in CONDITIONS}
    for condition in conditions:
        response, stated = row[f"{condition}_response"], row.get(f"{condition}_format")
        if not isinstance(response, str):
            raise InputError(path, where, f"{condition}_response: must be a text")
        values = common | {"condition": condition, "response": response}
        if stated is not None:
            try:
                values["format"] = truth(stated)
            except ValueError as error:
                raise InputError(path, where, f"{condition}_format: {error}") from None
        if f"{condition}_judgment" in row:
            values |= _labels(row[f"{condition}_judgment"])
        yield values


def _labels(judgment: Any) -> Row:
    """The columns that a judgment fills."""
    if judgment is None:
        return {"judge_error": MISSING}
    if isinstance(judgment, str):
        try:
            judgment = json.loads(judgment)
        except (ValueError, RecursionError):
            judgment = None
    if not isinstance(judgment, dict):
        return {"judge_error": MALFORMED}
    persona, confidence = judgment.get("persona_present"), judgment.get("confidence")
    try:
        label = identity_label(judgment.get("identity"))
    except ValueError:
        label = None
    labels: Row = {
        "persona": persona if isinstance(persona, bool) else None,
        "identity_label": label,
        "judge_confidence": confidence if _is_share(confidence) else None,
    }
    if labels["persona"] is None or label is None:
        said = judgment.get("error")
        labels["judge_error"] = said if isinstance(said, str) and said else MALFORMED
    return labels


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1
