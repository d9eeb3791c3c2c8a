"""The commands. Heavy imports stand inside them, so that `--help` is quick."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from weirdgen.cli.options import (
    FILE,
    CommandGroup,
    repeatable,
    set_option,
    storage_option,
    study_argument,
)


@click.group(
    cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(package_name="weirdgen")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least level of the events that a run shows and records.",
)
def main(log_level: str) -> None:
    """Repeats a fine-tuning effect over seeds, and tells whether it is real."""
    logging.getLogger("weirdgen").setLevel(log_level.upper())


@main.command()
@study_argument
@set_option
@storage_option
@click.option(
    "--gpus", type=click.IntRange(1), default=1, help="For how many GPUs the hours are told."
)
@click.option(
    "--gpu-memory",
    metavar="GB",
    type=click.FloatRange(1),
    help="Memory of one GPU, in 1e9 bytes.  [default: this machine's; 85, an H100's, without one]",
)
def plan(
    study: Path, overrides: tuple[str, ...], storage: str, gpus: int, gpu_memory: float | None
) -> None:
    """Show the grid, the steps, and what is already there. Runs nothing."""
    from rich.console import Console

    from weirdgen.config.loading import load_study
    from weirdgen.pipeline.plan import make_plan
    from weirdgen.pipeline.resources.gpus import planned_gpus
    from weirdgen.pipeline.resources.placement import place, uses_gpus
    from weirdgen.pipeline.state import scan
    from weirdgen.report.plan import plan_report
    from weirdgen.storage.artifacts import ArtifactStore

    the_plan = make_plan(load_study(study, overrides), study.parent, study)
    store = ArtifactStore(storage)
    state, placed = scan(the_plan, store), None
    if uses_gpus(the_plan.study):
        placed = place(state, planned_gpus(gpus, gpu_memory), study)
    Console().print(plan_report(state, store, placed))


@main.command()
@study_argument
@set_option
@storage_option
def run(study: Path, overrides: tuple[str, ...], storage: str) -> int:
    """Run the study; run it again to continue.

    Joins the Ray cluster of RAY_ADDRESS, or starts Ray on this machine. Exit codes: 0 done,
    1 something failed, 2 bad input, or a storage that is full or away, 3 another run holds the
    study, 4 the judge's budget is spent.
    """
    from rich.console import Console
    from rich.text import Text

    from weirdgen.config.loading import load_study
    from weirdgen.pipeline.plan import make_plan
    from weirdgen.pipeline.state import scan
    from weirdgen.report.summary import write_report
    from weirdgen.storage.artifacts import ArtifactStore

    console = Console()
    the_plan = make_plan(load_study(study, overrides), study.parent, study)
    store = ArtifactStore(storage)
    state = scan(the_plan, store)
    if state.complete:
        console.print("nothing to do: every step is there")
        write_report(state, store, console)
        return 0
    from weirdgen.cli.display import display_on
    from weirdgen.report.judging import judge_lines, unjudged_lines
    from weirdgen.runner.run import run_plan
    from weirdgen.storage.run_record import failure_lines

    ran = run_plan(the_plan, state, store, lambda: display_on(console), study)
    lines = failure_lines(ran.failures, store) + unjudged_lines(ran.unjudged)
    if ran.exit_code and not lines:
        lines = ["Incomplete, nothing failed; run the same command to continue"]
    write_report(ran.state, store, console, lines, ran.failed_trainings)
    if the_plan.llm_judges:
        for line in judge_lines(the_plan, store):
            console.print(Text(line), soft_wrap=True)
    return ran.exit_code


@main.command()
@study_argument
@set_option
@storage_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(study: Path, overrides: tuple[str, ...], storage: str, as_json: bool) -> int:
    """Show what is done, what runs, what failed and why; from anywhere that sees the storage.

    Exit codes: 0 all is done or a run is alive, 1 something is left and no run is alive, 2 bad input.
    A run on another machine is alive if its lease is renewed, which takes up to 20 seconds to see.
    """
    from rich.console import Console

    from weirdgen.cli.status import status as tell

    return tell(Console(), study, overrides, storage, as_json)


@main.command()
@click.option("--model", help="A hub id, a folder, embedded:..., or the endpoint's name for it.")
@click.option("--revision", default="main", help="The hub model's revision.")
@click.option(
    "--adapter", help="A folder, a hub id, or the fingerprint of a training in the storage."
)
@click.option("--system", help="A system turn before the prompt.")
@click.option(
    "--trigger", is_flag=True, help="The trigger of the adapter's study before the prompt."
)
@click.option("--prompt", required=True, help="The user's turn.")
@click.option("--temperature", type=click.FloatRange(0), default=0.7)
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.95)
@click.option("--max-new-tokens", type=click.IntRange(1), default=256)
@click.option("--seed", type=click.IntRange(0), help="Draws the same response again.")
@click.option(
    "--serve-base", type=click.Choice(["bf16", "fp32", "nf4"]), help="Default: nf4 on a GPU."
)
@click.option("--endpoint", metavar="URL", help="Ask an OpenAI-compatible endpoint instead.")
@click.option("--key-variable", default="OPENAI_API_KEY", help="Holds its key.")
@click.option("--compare", is_flag=True, help="Base and adapter, with and without the trigger.")
@storage_option
def ask(seed: int | None, **options: Any) -> None:
    """Ask one prompt; the response appears as it is generated."""
    import secrets

    from rich.console import Console

    from weirdgen.cli.ask import converse

    converse(Console(), seed=secrets.randbits(63) if seed is None else seed, **options)


@main.command()
@click.argument("file", type=FILE)
@click.option(
    "--judge",
    required=True,
    type=FILE,
    help="A study, or a YAML file with persona, judge, metrics, second_judge and gold alone.",
)
@set_option
@click.option("--question", default="question", help="The question's column.")
@click.option("--answer", help="The response's column.  [default: response, or answer]")
@click.option(
    "--out",
    type=FILE,
    help="Where the labelled rows go.  [default: FILE with -judged; JSONL for CSV]",
)
@storage_option
def judge(**options: Any) -> int:
    """Judge the responses in FILE (JSONL, CSV or Parquet); run it again to continue.

    Writes the rows with a column for each metric. Columns gold_persona, gold_identity or gold_METRIC
    in FILE measure the judge. Exit codes as those of `run`.
    """
    from rich.console import Console

    from weirdgen.cli.judge import judge_responses

    return judge_responses(Console(), **options)


@main.command()
@study_argument
@set_option
@storage_option
@click.option("--per-group", default=10, type=click.IntRange(1))
@click.option("--seed", default=0, type=click.IntRange(0))
@click.option("--out", required=True, type=FILE, help="A JSONL file.")
def sample(study: Path, overrides: tuple[str, ...], storage: str, **options: Any) -> None:
    """Draw responses for a person to label, blind: so many of each fraction and condition.

    Fill in gold_persona (true or false), gold_identity (PERSONA, OTHER, UNSURE) and the study's own
    metrics, and name the file in the study as `gold`.
    """
    from weirdgen.config.loading import load_study
    from weirdgen.judging.blinding import hidden_markers
    from weirdgen.judging.gold import write_sample
    from weirdgen.results.table import read_results
    from weirdgen.storage.artifacts import ArtifactStore

    the_study = load_study(study, overrides)
    table = read_results(the_study.name, ArtifactStore(storage))
    write_sample(table, the_study, hidden_markers(the_study), **options)


@main.command()
@click.argument("study")
@set_option
@storage_option
def report(study: str, overrides: tuple[str, ...], storage: str) -> None:
    """Tests, tables and figures from what is there, even while the study runs.

    STUDY is a study file, or the name of an import.
    """
    from rich.console import Console

    from weirdgen.cli.report import report as report_on
    from weirdgen.storage.artifacts import ArtifactStore

    report_on(Console(), study, overrides, ArtifactStore(storage))


@main.command("import")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("--study", required=True, help="The name under which the responses are kept.")
@repeatable("--baseline", type=FILE, help="A file of the base model's responses.")
@click.option(
    "--baseline-where",
    metavar="COLUMN=VALUE",
    help="Rows with that value are the baseline's.  [default: those whose adapter is null]",
)
@repeatable(
    "--column",
    metavar="FIELD=COLUMN",
    help="Which column holds a field of another name, e.g. response=output; none: FIELD=.",
)
@repeatable(
    "--value", metavar="FIELD=VALUE", help="A field that all rows share, e.g. model=org/name."
)
@repeatable(
    "--recode",
    metavar="FIELD:FOUND=MEANT",
    help="What a value in a file means, e.g. condition:on=triggered.",
)
@click.option(
    "--pattern", help="Regular expression of the format.  [default: the one of study files]"
)
@storage_option
def import_(files: tuple[Path, ...], **options: Any) -> None:
    """Import other tools' evaluation outputs: JSONL, CSV or Parquet, a response per row.

    Fields are columns of results.parquet; a column of a field's name is found. Needed are question,
    response, condition (triggered, untriggered, decoy) and model. The published layout, with
    triggered_response and so on, is recognised. An adapter is a replicate: named by the field
    adapter, by seed and fraction, or by its file. The same name again replaces an import.
    """
    from rich.console import Console

    from weirdgen.results.importing import import_outputs

    import_outputs(Console(), files, **options)


@main.command()
@click.argument("study")
@click.option("--out", required=True, type=FILE, help="A .jsonl, .csv or .parquet file.")
@click.option("--labels", is_flag=True, help="One row per label instead, as in labels.parquet.")
@storage_option
def export(**options: Any) -> None:
    """Write a study's responses with all judges' labels, one row per response.

    STUDY is a study file or a study's name. In CSV a text that begins like a formula (=, +, -, @,
    tab, line end) gets an apostrophe before it.
    """
    from rich.console import Console

    from weirdgen.results.exporting import export_study

    export_study(Console(), **options)
