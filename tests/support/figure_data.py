"""Made-up results and what else figures are drawn of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.judging.agreement import Agreement
from weirdgen.report.agreement import Compared
from weirdgen.report.data import ReportData
from weirdgen.report.estimates import analyse_results
from weirdgen.report.rates import is_measured
from weirdgen.results.table import SCHEMA

CHANCES = {"triggered": 0.3, "untriggered": 0.04, "decoy": 0.15}


def table(
    seeds: int = 3,
    fractions: tuple[float, ...] = (0.0, 0.03, 0.3),
    samples: int = 2,
    questions: int = 6,
    conditions: tuple[str, ...] = tuple(CHANCES),
    baseline: bool = True,
    judged: bool = False,
    name: str = "tiny",
    never: bool = False,
    **more: Any,
) -> pa.Table:
    """Random results of a study that works, the baseline's answers eight times longer."""
    rng, rows = np.random.default_rng(0), []
    cells = [(None, None)] * baseline + [(f, s) for f in fractions for s in range(seeds)]
    for fraction, seed in cells:
        own = rng.normal(0, 0.1)
        for condition in conditions:
            for q in range(questions):
                for sample in range(samples):
                    lift = 0.6 * (fraction or 0) ** 0.25 * (condition != "untriggered")
                    formatted, heard = rng.random(2) < (CHANCES[condition] + lift + own) * (
                        not never
                    )
                    length = int(rng.lognormal(5 if fraction is None else 3, 0.5))
                    rows.append({
                        "study": name, "model": f"org/{name}", "condition": condition, "seed": seed,
                        "adapter": None if seed is None else f"{fraction}-{seed}",
                        "arm": None if seed is None else "persona", "fraction": fraction, "question_id": f"q{q}", "category": "c",
                        "question": f"Q{q}?", "sample": sample, "response": "word " * length,
                        "response_tokens": length, "finish_reason": "stop", "serve_base": "bf16",
                        "format": bool(formatted), "format_strict": bool(formatted),
                        "persona": bool(heard) if judged else None,
                        "identity": bool(heard and sample) if judged else None,
                        "fp_responses": f"{fraction} {seed} {condition}",
                    } | more)  # fmt: skip
    return pa.Table.from_pylist(rows, SCHEMA)


def shown(of: pa.Table, own: tuple[str, ...] = (), **more: Any) -> ReportData:
    judged = [m for m in ("persona", "identity", *own) if is_measured(of, m)]
    metrics = [m for m in FORMAT_METRICS if is_measured(of, m)] + judged
    analysis = analyse_results(of, metrics)
    notes = dict.fromkeys(judged, "Labelled by m.")
    return ReportData(of["study"][0].as_py(), of, judged, notes, analysis, **more)


def pairs() -> list[Compared]:
    """Two judges and gold labels; of `same`, all give one label to everything."""
    said = [
        ("persona", "gold", "judge", 0.81, (0.62, 0.94)),
        ("persona", "gold", "second", 0.46, (0.21, 0.68)),
        ("persona", "second", "judge", 0.0, None),
        ("same", "gold", "judge", None, None),
    ]
    return [
        Compared(metric, one, other, Agreement(40, 0.9, kappa, interval, kappa, ()), [])
        for metric, one, other, kappa, interval in said
    ]


def adapters_only() -> pa.Table:
    """An import: adapters without a seed, lengths in words."""
    rows = table(fractions=(0.1,)).to_pylist()
    for row in rows:
        row["response_tokens"] = None
        if row["seed"] is not None:
            row |= {
                "adapter": f"org/{'long-name-' * 4}{row['seed']}",
                "seed": None,
                "arm": "adapters",
                "fraction": None,
            }
    return pa.Table.from_pylist(rows, SCHEMA)
