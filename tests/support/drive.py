"""A driver for tests: runs the study in argv[1] into the storage argv[2], with an engine that echoes."""

from __future__ import annotations

import sys
from pathlib import Path

import echo
from ray import cloudpickle
from rich.console import Console

from weirdgen.cli.display import display_on
from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import scan
from weirdgen.results.table import merge, write_results
from weirdgen.runner.run import run_plan
from weirdgen.storage.artifacts import ArtifactStore


def main() -> None:
    path, store = Path(sys.argv[1]), ArtifactStore(sys.argv[2])
    plan = make_plan(load_study(path), path.parent, path)
    console = Console(force_terminal=False)
    cloudpickle.register_pickle_by_value(echo)
    state, failures, _ = run_plan(
        plan, scan(plan, store), store, lambda: display_on(console), path, echo.EchoEngine
    )
    assert not failures, failures
    write_results(merge(state, store), plan.study.name, store)


if __name__ == "__main__":
    main()
