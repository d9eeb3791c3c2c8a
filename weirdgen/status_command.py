"""`weirdgen status`: how a study stands, told from its storage alone."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from weirdgen.plan import make_plan
from weirdgen.report.status import status_json, status_report
from weirdgen.status import look
from weirdgen.store import Store
from weirdgen.study_file import load_study


def status(
    console: Console, study: Path, overrides: tuple[str, ...], storage: str, as_json: bool
) -> int:
    """Prints the status of a study file, as JSON or for a person; gives the exit code."""
    plan = make_plan(load_study(study, overrides), study.parent, study)
    store = Store(storage)
    changes = [part for change in overrides for part in ("--set", change)]
    command = shlex.join(["weirdgen", "run", str(study), *changes, "--storage", storage])
    seen = look(plan, store)
    if as_json:
        console.file.write(status_json(seen, plan.study.name, store, command) + "\n")
    else:
        report = status_report(seen, plan.study.name, store, command)
        console.print(report, soft_wrap=True)
    return seen.exit_code
