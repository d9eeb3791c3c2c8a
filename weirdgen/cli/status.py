"""`weirdgen status`: read the storage, print the status."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml
from rich.console import Console

from weirdgen.config.loading import load_study
from weirdgen.config.study import Study
from weirdgen.errors import InputError
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.status import read_status
from weirdgen.report.status import status_json, status_report
from weirdgen.storage.artifacts import ArtifactStore


def status(
    console: Console, study: Path, overrides: tuple[str, ...], storage: str, as_json: bool
) -> int:
    """Prints the status of a study file, as JSON or for a person; gives the exit code.

    Raises InputError where the storage is a folder that is not there.
    """
    read = load_study(study, overrides)
    store = ArtifactStore(storage)
    if store.is_local and not Path(store.path()).is_dir():
        raise InputError("--storage", None, f"{store.uri}: no such folder, so no run began there")
    plan = make_plan(_as_run(read, store), study.parent, study)
    changes = [part for change in overrides for part in ("--set", change)]
    command = shlex.join(["weirdgen", "run", str(study), *changes, "--storage", storage])
    seen = read_status(plan, store)
    if as_json:
        console.file.write(status_json(seen, plan.study.name, store, command) + "\n")
    else:
        report = status_report(seen, plan.study.name, store, command)
        console.print(report, soft_wrap=True)
    return seen.exit_code


def _as_run(study: Study, store: ArtifactStore) -> Study:
    """The study with its model at the commit that its last run resolved: a branch may have moved."""
    if re.fullmatch(r"[0-9a-f]{40}", study.model_revision):
        return study
    try:
        run = yaml.safe_load(store.read(f"{study.name}/study.yaml") or b"")
    except (yaml.YAMLError, UnicodeDecodeError):
        return study
    if not isinstance(run, dict) or run.get("model") != study.model:
        return study
    return study.model_copy(update={"model_revision": str(run.get("model_revision"))})
