"""The commands. Heavy imports stand inside them, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from weirdgen.errors import WeirdgenError


def _one_line_errors(command: Callable[..., int | None]) -> Callable[..., None]:
    """Ends the command with its exit code; an error the user can act on is one line on stderr."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except WeirdgenError as error:
            click.echo(f"weirdgen: {' '.join(str(error).split())}", err=True)
            code = error.exit_code
        except OSError as error:
            click.echo(f"weirdgen: {' '.join(str(error).split())}", err=True)
            code = 2
        except KeyboardInterrupt:
            click.echo("weirdgen: interrupted; the same command continues", err=True)
            code = 130
        sys.exit(code or 0)

    return wrapped


_study = click.argument("study", type=click.Path(path_type=Path))
_set = click.option(
    "--set",
    "overrides",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Change a field of the study; VALUE is YAML, e.g. grid.seeds=0..9. May be repeated.",
)
_storage = click.option(
    "--storage",
    default="results",
    show_default=True,
    help="Where artifacts and results live: a folder (relative to here), s3:// or gs://.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weirdgen")
def main() -> None:
    """Repeats a fine-tuning effect over seeds, and tells whether it is real."""


@main.command()
@_study
@_set
@_storage
@_one_line_errors
def plan(study: Path, overrides: tuple[str, ...], storage: str) -> None:
    """Show the grid, the steps, and what is already there. Runs nothing."""
    import gc

    gc.disable()  # a large grid is a hundred thousand small records, and no garbage
    from rich.console import Console

    from weirdgen.plan import make_plan, survey
    from weirdgen.report.plan import plan_report
    from weirdgen.store import Store
    from weirdgen.study_file import load_study

    the_plan = make_plan(load_study(study, overrides), study.parent, study)
    store = Store(storage)
    Console().print(plan_report(survey(the_plan, store), store))


@main.command()
@_study
@_set
@_storage
@_one_line_errors
def run(study: Path, overrides: tuple[str, ...], storage: str) -> int:
    """Run the study; run it again to continue.

    Joins the Ray cluster of RAY_ADDRESS, or starts Ray on this machine. Exit codes: 0 done,
    1 something failed, 2 bad input, 3 another run holds the study.
    """
    from rich.console import Console

    from weirdgen.plan import make_plan, survey
    from weirdgen.report.summary import publish
    from weirdgen.store import Store
    from weirdgen.study_file import load_study

    console = Console()
    the_plan = make_plan(load_study(study, overrides), study.parent, study)
    store = Store(storage)
    found = survey(the_plan, store)
    if found.complete:
        console.print("nothing to do: every step is there")
        publish(found, store, console)
        return 0
    from weirdgen.runner.progress import RunDisplay, failure_lines
    from weirdgen.runner.run import run_plan

    found, failures = run_plan(the_plan, found, store, lambda: RunDisplay(console), study)
    publish(found, store, console, failure_lines(failures, store))
    return 1 if failures else 0
