"""`weirdgen judge FILE`: labels for responses from anywhere, by a study's judges or a file of their own."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from weirdgen.config.loading import load_evaluation_spec
from weirdgen.config.study import Study
from weirdgen.data.persona import find_persona
from weirdgen.data.responses import WRITTEN, check_out, read_responses
from weirdgen.errors import BudgetError, InputError
from weirdgen.judging.blinding import hidden_markers
from weirdgen.judging.gold import find_gold, gold_of
from weirdgen.judging.judgment_store import ledger
from weirdgen.judging.llm_judge import llm_judges
from weirdgen.judging.queue import BUDGET
from weirdgen.report.agreement import agreement_table, compare, differences_jsonl
from weirdgen.report.judging import ledger_line, unjudged_lines
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.text import single_line


def judge_responses(
    console: Console,
    *,
    file: Path,
    judge: Path,
    overrides: tuple[str, ...],
    question: str,
    answer: str | None,
    out: Path | None,
    storage: str,
) -> int:
    """Judges, writes, prints what was written and what it took; gives the exit code.

    The options are those of `weirdgen judge --help`. Raises InputError for options and files that
    do not go together, before anybody is asked.
    """
    labelling = load_evaluation_spec(judge, overrides)
    base = judge.parent
    persona = find_persona(labelling.persona, base, judge)
    judges = llm_judges(labelling, persona)
    if len({each.settings for each in judges}) < max(1, len(labelling.judges)):
        problem = "must be a model that an endpoint serves; offline is learned by a study's run"
        raise InputError(judge, "judge.model", problem)
    responses = read_responses(file, question, answer)
    ending = file.suffix if file.suffix in WRITTEN else WRITTEN[0]
    out = out or file.with_name(f"{file.stem}-judged{ending}")
    check_out(out)
    if out.resolve() == file.resolve():
        raise InputError("--out", None, f"{out} is the file of the responses")

    from weirdgen.runner.judge_file import file_payer, judge_file

    marks = hidden_markers(labelling)
    gold = find_gold(labelling, base) or {}
    for key, labels in gold_of(responses, labelling, marks, prefixed=True).items():
        gold[key] = gold.get(key, {}) | labels
    store = ArtifactStore(storage)
    actors = labelling.resources.judge_actors if isinstance(labelling, Study) else 4

    def event(text: str) -> None:
        console.print(Text(single_line(text)), soft_wrap=True)

    judged = judge_file(responses, judges, marks, gold or None, store, actors, out, event)
    compared = compare(judged.ratings, gold or None)
    written = [out]
    if judged.ratings:
        differences = out.with_name(f"{out.stem}-differences.jsonl")
        differences.write_text("".join(differences_jsonl(compared)), "utf-8")
        written.append(differences)
    if compared:
        console.print(agreement_table(compared, labelling).rich())
    payer = file_payer(file)
    for settings in labelling.judges:
        own = [each for each in judges if each.settings == settings]
        others = [each for each in judges if each.settings != settings]
        event(ledger_line(settings.model, ledger(store, own, payer, others)))
    for line in [*map(str, written), *unjudged_lines(judged.unjudged)]:
        event(line)
    if judged.unjudged[BUDGET]:
        return BudgetError.exit_code
    return 1 if judged.unjudged else 0
