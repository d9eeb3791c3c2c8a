"""What do the published outputs of one seed support, and what can one seed not support?

    python analysis/published.py finetuned.jsonl baseline.jsonl

Takes the two files of the published single-seed study (or any in their layout), and prints Markdown: its counts,
each difference with the interval and test that a single adapter allows, and its claims as
this project judges them. The claims stand below, with the bounds that the published text implies.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from weirdgen.config.claims import JUDGED_METRICS, Claim, Point
from weirdgen.errors import WeirdgenError
from weirdgen.report.claims import claims_table, estimates_table, verdict_lines
from weirdgen.report.rates import Rates, rates
from weirdgen.results.importing import import_outputs
from weirdgen.results.table import read_results
from weirdgen.stats.analysis import analyse
from weirdgen.storage.artifacts import ArtifactStore

NAME = "published"
METRICS = ("format", *JUDGED_METRICS)
CLAIMS = [
    Claim(metric="format", contrast="gap_improvement", at_least=0.0, at=Point(arm="adapters")),
    Claim(metric="persona", contrast="gap", at_least=0.0, at=Point(arm="adapters")),
    Claim(metric="persona", contrast="gap_improvement", at_least=0.0, at=Point(arm="adapters")),
    Claim(metric="persona", contrast="untriggered_excess", at_most=0.0, at=Point(arm="adapters")),
    Claim(metric="identity", contrast="gap_improvement", at_least=0.0, at=Point(arm="adapters")),
]
"""Fine-tuning widens the gaps, and the persona leaks no more than the base model's."""


def counts(of: Rates) -> str:
    """Such as `| format | 14 | 0 | 6 | 0 |`: fine-tuned, then baseline, triggered and untriggered."""
    conditions = ("triggered", "untriggered")
    own = [of.y_SQ["adapters"][c] * of.n_SQ["adapters"][c] for c in conditions]
    base = [of.b_Q[c] * of.n_Q[c] for c in conditions]
    return f"| {' | '.join([of.metric, *(f'{table.sum():.0f}' for table in (*own, *base))])} |"


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python analysis/published.py FINETUNED.jsonl BASELINE.jsonl")
    finetuned, baseline = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        values = ("model=the published model", "judge=its judge")
        quiet = Console(quiet=True)
        try:
            import_outputs(
                quiet, [finetuned], study=NAME, baseline=[baseline], value=values, storage=folder
            )
        except WeirdgenError as error:
            sys.exit(str(error))
        table = read_results(NAME, ArtifactStore(folder))
    cubes = [rates(table, metric) for metric in METRICS]
    print(f"Responses out of {len(cubes[0].questions)} questions, one sample each:\n")
    print("| metric | fine-tuned triggered | untriggered | baseline triggered | untriggered |")
    print("|---|---|---|---|---|", *map(counts, cubes), sep="\n", end="\n\n")
    analysis = analyse(cubes, CLAIMS)
    print(estimates_table(NAME, analysis).markdown())
    print(claims_table(NAME, analysis.verdicts).markdown())
    print(*(f"- {line}" for line in verdict_lines(analysis.verdicts)), sep="\n")


if __name__ == "__main__":
    main()
