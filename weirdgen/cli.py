"""The commands. Heavy imports stand inside them, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from weirdgen.errors import BudgetError, WeirdgenError


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

    from weirdgen.plan import make_plan
    from weirdgen.report.plan import plan_report
    from weirdgen.store import Store
    from weirdgen.study_file import load_study
    from weirdgen.survey import survey

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
    1 something failed, 2 bad input, 3 another run holds the study, 4 the judge's budget is spent.
    """
    from rich.console import Console

    from weirdgen.plan import make_plan
    from weirdgen.report.summary import publish
    from weirdgen.store import Store
    from weirdgen.study_file import load_study
    from weirdgen.survey import survey

    console = Console()
    the_plan = make_plan(load_study(study, overrides), study.parent, study)
    store = Store(storage)
    found = survey(the_plan, store)
    if found.complete:
        console.print("nothing to do: every step is there")
        publish(found, store, console)
        return 0
    from weirdgen.judge.desk import BUDGET
    from weirdgen.report.judging import judge_lines, unjudged_lines
    from weirdgen.runner.progress import RunDisplay, failure_lines
    from weirdgen.runner.run import run_plan

    ran = run_plan(the_plan, found, store, lambda: RunDisplay(console), study)
    lines = failure_lines(ran.failures, store) + unjudged_lines(ran.unjudged)
    publish(ran.found, store, console, lines)
    if the_plan.llm_judges:
        console.print(*judge_lines(the_plan, store), sep="\n", soft_wrap=True)
    if BUDGET in ran.unjudged:
        return BudgetError.exit_code
    return 1 if lines else 0


@main.command()
@click.option("--model", help="A hub id, a folder, embedded:..., or the endpoint's name for it.")
@click.option("--revision", default="main", show_default=True, help="The hub model's revision.")
@click.option(
    "--adapter", help="A folder, a hub id, or the fingerprint of a training in the storage."
)
@click.option("--system", help="A system turn before the prompt.")
@click.option(
    "--trigger", is_flag=True, help="The trigger of the adapter's study before the prompt."
)
@click.option("--prompt", required=True, help="The user's turn.")
@click.option("--temperature", type=click.FloatRange(0), default=0.7, show_default=True)
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True
)
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Draws the same answer again.")
@click.option("--serve-base", type=click.Choice(["bf16", "nf4"]), help="Default: nf4 on a GPU.")
@click.option("--endpoint", metavar="URL", help="Ask an OpenAI-compatible endpoint instead.")
@click.option("--key-variable", default="OPENAI_API_KEY", show_default=True, help="Holds its key.")
@click.option("--compare", is_flag=True, help="Base and adapter, with and without the trigger.")
@_storage
@_one_line_errors
def ask(
    temperature: float, top_p: float, max_new_tokens: int, seed: int | None, **options: Any
) -> None:
    """Ask one prompt; the answer appears as it is generated."""
    import secrets

    from rich.console import Console

    from weirdgen.ask import AskOptions, Draw, converse

    draw = Draw(max_new_tokens, temperature, top_p, secrets.randbits(63) if seed is None else seed)
    converse(Console(), AskOptions(draw=draw, **options))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--judge",
    required=True,
    type=click.Path(path_type=Path),
    help="A study, or a YAML file with persona, judge, metrics, second_judge and gold alone.",
)
@_set
@click.option("--question", default="question", show_default=True, help="The question's column.")
@click.option("--answer", help="The answer's column.  [default: response, or answer]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the labelled rows go.  [default: FILE with -judged]",
)
@_storage
@_one_line_errors
def judge(**options: Any) -> int:
    """Judge the responses in FILE (JSONL or Parquet); run it again to continue.

    Writes the rows with a column for each metric. Columns gold_persona, gold_identity or gold_METRIC
    in FILE measure the judge. Exit codes as those of `run`.
    """
    from rich.console import Console

    from weirdgen.judge_command import JudgeOptions, judge_responses

    return judge_responses(Console(), JudgeOptions(**options))


@main.command()
@_study
@_set
@_storage
@click.option("--per-group", default=10, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A JSONL file.")
@_one_line_errors
def sample(study: Path, overrides: tuple[str, ...], storage: str, **options: Any) -> None:
    """Draw answers for a person to label, blind: so many of each fraction and condition.

    Fill in gold_persona (true or false), gold_identity (PERSONA, OTHER, UNSURE) and the study's own
    metrics, and name the file in the study as `gold`.
    """
    from weirdgen.gold import write_sample
    from weirdgen.plan import shown_marks
    from weirdgen.results import read_results
    from weirdgen.store import Store
    from weirdgen.study_file import load_study

    the_study = load_study(study, overrides)
    table = read_results(the_study.name, Store(storage))
    write_sample(table, the_study, shown_marks(the_study), **options)
