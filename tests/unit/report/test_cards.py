"""A card beside every adapter: what it says, and that nothing else takes notice of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from adapter_files import make_adapter
from hostile import HOSTILE
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from methods_plans import MODEL, VERSIONS, manifest, plan_of
from studies import small_study, study_of

from weirdgen.config.evaluation import Evaluate
from weirdgen.config.study import ExistingAdapter
from weirdgen.models.adapters import ADAPTER, resolve_adapter
from weirdgen.models.identity import Model
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.report.cards import CARD, cards, write_cards
from weirdgen.report.data import ReportData
from weirdgen.report.estimates import analyse_results
from weirdgen.results.table import SCHEMA
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import MetricArrays
from weirdgen.storage.artifacts import ArtifactStore

QUESTIONS = 6
MADE = {
    "commit": "f" * 40, "versions": VERSIONS, "hardware": {"gpu": "NVIDIA H100"}, "wall_s": 1.0,
    "attempts": 1,
}  # fmt: skip
GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def trained(plan: Plan, store: ArtifactStore) -> StudyState:
    """Every step of the plan committed, the training runs with an adapter each."""
    for step in [*plan.shared, *plan.trainings.values()]:
        with store.attempt(step) as attempt:
            if step.stage == "train":
                make_adapter(attempt[1] / ADAPTER, hidden=576)
            (attempt[1] / "file").write_text(step.fingerprint)
            consumed = {fp: m.digest for fp in step.inputs.values() for m in [_of(plan, fp, store)]}
            store.commit(step, attempt, inputs=consumed, provenance=MADE)
    state = scan(plan, store)
    assert all(map(state.is_done, plan.trainings.values()))
    return state


def _of(plan: Plan, fingerprint: str, store: ArtifactStore) -> Any:
    return store.manifest(plan.by_fingerprint[fingerprint])


def yes(cell: GridCell | None, condition: str, q: int, sample: int) -> bool:
    if cell is None:
        return condition == "triggered" and q == 0
    return condition == "triggered" and (q + sample) % 3 > 0


def answered(plan: Plan, skipped: tuple[GridCell, ...] = ()) -> ReportData:
    """Responses of every adapter: two samples a question of each, three of the base model."""
    rows = []
    for asked in plan.response_sets:
        if asked.cell in skipped:
            continue
        for q in range(QUESTIONS):
            for sample in range(3 if asked.cell is None else 2):
                kept = yes(asked.cell, asked.condition, q, sample)
                rows.append(
                    {
                        "study": plan.study.name, "model": plan.study.model,
                        "adapter": asked.adapter and asked.adapter.folder,
                        "seed": asked.cell and asked.cell.seed,
                        "fraction": asked.cell and asked.cell.fraction,
                        "condition": asked.condition, "question_id": f"q{q}", "category": "c",
                        "question": "?", "sample": sample, "response": "", "finish_reason": "stop",
                        "serve_base": "bf16", "format": kept, "format_strict": kept, "fp_responses": "f",
                    }
                )  # fmt: skip
    table = pa.Table.from_pylist(rows, SCHEMA)
    return ReportData(plan.study.name, table, [], {}, analyse_results(table, ["format"]), plan=plan)


def paths(plan: Plan, store: ArtifactStore) -> list[str]:
    return [
        f"artifacts/{step.key}/{found.attempt}/{ADAPTER}/{CARD}"
        for step in plan.trainings.values()
        for found in [store.manifest(step)]
        if found is not None
    ]


def test_cards_stand_beside_the_weights_and_disturb_nothing(store: ArtifactStore, tmp_path: Path):
    plan = plan_of()
    state = trained(plan, store)
    payloads = [store.payload(s, state.done[s.fingerprint]) for s in plan.trainings.values()]
    evaluate = Evaluate(engine="transformers")
    existing = ExistingAdapter(path=str(payloads[0] / ADAPTER))
    before = resolve_adapter(existing, evaluate, plan.model, Path(), "--adapter")
    write_cards(answered(plan), state, store)
    written = [store.read(path) for path in paths(plan, store)]
    assert len(written) == 2
    assert all(content and content.startswith(b"---\n") for content in written)
    assert scan(plan, store).done == state.done
    assert [
        store.payload(s, state.done[s.fingerprint]) for s in plan.trainings.values()
    ] == payloads
    after = resolve_adapter(existing, evaluate, plan.model, Path(), "--adapter")
    assert after.hashes == before.hashes
    assert CARD not in " ".join(after.files)
    tree = small_study(MODEL, grid=None, adapters=[str(payloads[0] / ADAPTER)])
    assert len(make_plan(study_of(tree), Path()).response_sets) == 6


def test_a_card_that_is_there_is_not_written_again_and_a_pruned_payload_stays_pruned(
    tmp_path: Path,
):
    store, plan = ArtifactStore(str(tmp_path / "store")), plan_of()
    state, shown = trained(plan, store), answered(plan)
    write_cards(shown, state, store)
    first, second = (Path(store.path(path)) for path in paths(plan, store))
    written = first.stat().st_mtime_ns, first.read_bytes()
    for file in [*second.parent.iterdir()]:
        file.unlink()
    second.parent.rmdir()
    write_cards(shown, state, store)
    assert (first.stat().st_mtime_ns, first.read_bytes()) == written
    assert not second.parent.exists(), "a card alone would pass for a payload"


def test_studies_that_share_an_adapter_leave_the_card_of_the_last_and_then_rest(tmp_path: Path):
    store, plan = ArtifactStore(str(tmp_path / "store")), plan_of()
    other = replace(plan, study=plan.study.model_copy(update={"name": "other"}))
    state = trained(plan, store)
    texts = []
    for each in (plan, other, plan):
        write_cards(answered(each), replace(state, plan=each), store)
        content = store.read(paths(plan, store)[0])
        assert content is not None
        texts.append(content.decode())
    assert texts[0] == texts[2] != texts[1]
    assert "# other: persona fraction" in texts[1]


def test_a_card_has_its_adapters_own_rates_beside_the_untouched_models():
    plan = plan_of(grid__fractions=[0, 0.5], aligned__rows=8)
    state = StudyState(plan)
    for step in plan.trainings.values():
        state.done[step.fingerprint] = manifest(step)
    shown = answered(plan)
    texts = {step.folder: text for step, text in cards(shown, state)}
    assert len(texts) == 4
    step = plan.trainings[GridCell(0.5, 1)]
    text = texts[step.folder]
    y_Q = np.array(
        [np.mean([yes(GridCell(0.5, 1), "triggered", q, s) for s in (0, 1)]) for q in range(6)]
    )
    b_Q = np.array([float(q == 0) for q in range(6)])
    cube = MetricArrays(
        "format", {0.5: (1,)},
        {0.5: {"triggered": y_Q[None], "untriggered": np.zeros((1, 6))}},
        {0.5: dict.fromkeys(("triggered", "untriggered"), np.full((1, 6), 2))},
        {"triggered": b_Q, "untriggered": np.zeros(6)},
        dict.fromkeys(("triggered", "untriggered"), np.full(6, 3)),
    )  # fmt: skip
    measured = estimate_contrast(cube, "gap_improvement", 0.5)
    assert measured.target == "this adapter"
    low, high = measured.limits()
    assert low is not None
    assert high is not None
    gap = f"{100 * (y_Q - b_Q).mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    assert f"| format | gap improvement | {gap} | - |" in text
    assert f"| format | triggered | {100 * y_Q.mean():.1f} [" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| format | gap |"))
    assert row.split(" | ")[3].startswith(f"{100 * b_Q.mean():+.1f} [")
    assert "nothing about a repeated training run" in text
    assert "control, without any persona example" in texts[plan.trainings[GridCell(0.0, 1)].folder]
    assert "'role': 'system'" not in texts[plan.trainings[GridCell(0.0, 1)].folder]
    assert "'role': 'system'" in text


def test_an_adapter_that_nobody_asked_yet_says_so_and_one_that_is_not_trained_has_no_card():
    plan = plan_of()
    state = StudyState(plan)
    one, _ = plan.trainings
    state.done[plan.trainings[one].fingerprint] = manifest(plan.trainings[one])
    ((step, text),) = cards(answered(plan, skipped=(one,)), state)
    assert step == plan.trainings[one]
    assert "Nobody has asked it yet." in text
    assert "| format |" not in text


def test_the_front_matter_is_what_a_hub_reads():
    plan = plan_of()
    state = StudyState(plan)
    for step in plan.trainings.values():
        state.done[step.fingerprint] = manifest(step)
    _, text = next(cards(answered(plan), state))
    head = yaml.safe_load(text.split("---\n")[1])
    tags = ["lora", "weirdgen"]
    assert head == {
        "language": "en",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    assert ModelCard(text).data.to_dict() == head
    hub = Model("hub", "m", "org/m", "0" * 40, "t", "org/m")
    there = replace(state, plan=replace(plan, model=hub))
    _, text = next(cards(answered(plan), there))
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == "org/m"
    assert "license" not in data
    assert "datasets" not in data
    assert f"base, revision = 'org/m', '{'0' * 40}'" in text
    assert "from_pretrained(base, revision=revision)" in text
    assert "\n\n\n" not in text
    assert "None" not in text


def code_of(text: str) -> str:
    (code,) = (t.content for t in GFM.parse(text) if t.type == "fence" and t.info == "python")
    return code


NAMES = [name for name, text in HOSTILE.items() if text.strip() and len(text) < 1000]


def test_hostile_instructions_and_names_are_texts_in_it():
    plan = plan_of()
    step, shown = next(iter(plan.trainings.values())), answered(plan)
    for name in NAMES:
        text = HOSTILE[name]
        trigger = plan.study.trigger.model_copy(update={"text": text, "role": "user"})
        study = plan.study.model_copy(update={"trigger": trigger})
        hostile = replace(plan, study=study, persona=replace(plan.persona, name=text))
        state = StudyState(hostile, done={step.fingerprint: manifest(step)})
        ((_, card),) = cards(shown, state)
        tokens = GFM.parse(card.split("---\n", 2)[2])
        kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
        assert not kinds & {
            "html_block",
            "html_inline",
            "image",
            "link_open",
            "em_open",
            "strong_open",
        }
        assert not kinds & {"s_open", "hr", "blockquote_open"}, name
        assert [t.markup for t in tokens if t.type == "heading_open"] == ["#", *["##"] * 6], name
        code = code_of(card)
        compile(code, name, "exec")
        lines = code.splitlines()
        at = lines.index("messages = [")
        (turn,) = (eval(line.strip().rstrip(",")) for line in lines[at + 1 : lines.index("]")])
        assert turn == {"role": "user", "content": f"{text}\n\nWhere were you born?"}
        assert all(char.isprintable() or char == "\n" for char in card)


def test_the_weights_manifest_does_not_know_of_the_card(tmp_path: Path):
    store, plan = ArtifactStore(str(tmp_path / "store")), plan_of()
    state = trained(plan, store)
    files = sorted(Path(store.path("artifacts")).rglob("manifest.json"))
    before = [file.read_bytes() for file in files]
    write_cards(answered(plan), state, store)
    assert [file.read_bytes() for file in files] == before
    assert not any(CARD in json.loads(content)["outputs"] for content in before)
