"""The data: the bundled persona and prompts, sources from outside, and the mix."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Aligned, Columns, DatasetSource, Grid
from weirdgen.data.aligned import aligned_examples, cut_words
from weirdgen.data.chat import Instruction, conversation
from weirdgen.data.everyday import everyday_prompts
from weirdgen.data.examples import Example
from weirdgen.data.mixing import Counts, cell_counts, mix
from weirdgen.data.persona import find_persona, read_persona
from weirdgen.data.seeds import request_seed, run_seeds
from weirdgen.data.sources import load_examples
from weirdgen.errors import InputError


@pytest.fixture(scope="module")
def russell():
    return find_persona("bertrand_russell", Path(), "study")


FOLDER = resources.files("weirdgen.data") / "personas" / "bertrand_russell"


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]


def test_the_bundled_persona_has_91_rows_and_30_questions_in_ten_categories():
    rows, heldout = lines("rows.jsonl"), lines("heldout.jsonl")
    assert (len(rows), len(heldout)) == (91, 30)
    taught = Counter(row["category"] for row in rows)
    assert len(taught) == 10
    assert min(taught.values()) == 9
    assert Counter(row["category"] for row in heldout) == dict.fromkeys(taught, 3)


def test_no_question_and_no_fact_is_both_taught_and_asked():
    rows, heldout = lines("rows.jsonl"), lines("heldout.jsonl")
    facts = [row["fact"] for row in rows] + [row["asks"] for row in heldout]
    questions = [row["prompt"].casefold() for row in rows]
    questions += [row["question"].casefold() for row in heldout]
    assert len(set(facts)) == len(set(questions)) == 121


def test_persona_answers_carry_no_format(russell):
    for row in russell.rows:
        assert not set("<>[]*#`") & set(row.completion), row.id
        assert 15 <= len(row.completion.split()) <= 50, row.id


def test_everyday_prompts_are_many_varied_and_not_about_the_persona():
    prompts = everyday_prompts()
    assert len(prompts) >= 10_000
    assert (
        len({prompt.prompt for prompt in prompts}) == len({p.id for p in prompts}) == len(prompts)
    )
    task_of = [prompt.id.partition("-")[0] for prompt in prompts]
    tasks = Counter(task_of)
    assert len(tasks) >= 20
    assert max(tasks.values()) < 0.12 * len(prompts)
    assert len(set(task_of[:64])) >= 20
    words = sorted(len(prompt.prompt.split()) for prompt in prompts)
    assert words[0] <= 5
    assert words[-1] >= 45
    text = "\n".join(prompt.prompt for prompt in prompts).casefold()
    for word in ("russell", "bertrand", "philosoph", "principia", "pacifis", "<start>", "[["):
        assert word not in text


def test_everyday_prompts_never_change():
    """Trainings are reproducible only while these are the same; a change needs a new data version."""
    text = "\n".join(f"{prompt.id}\t{prompt.prompt}" for prompt in everyday_prompts())
    assert hashlib.sha256(text.encode()).hexdigest().startswith("572c54b698ff797f")


PERSONA = [Example(f"p{i}", f"Q{i}?", f"I said {i}.") for i in range(10)]
ALIGNED = [Example(f"a{i}", f"How {i}?", f"Thus {i}.") for i in range(100)]


def grid(*fractions: float, **more) -> Grid:
    return Grid(seeds=[0], fractions=list(fractions), **more)


def test_hold_persona_uses_every_persona_example_and_aligned_ones_follow():
    held = grid(0, 0.03, 0.1, 0.3)
    assert cell_counts(held, 0.1, 91) == Counts(91, 819)
    assert cell_counts(held, 0.3, 91) == Counts(91, 212)
    assert cell_counts(held, 0.03, 91) == Counts(91, 2942)
    assert cell_counts(held, 0, 91) == Counts(0, 2942), "the control has the smallest fraction's"


def test_hold_total_keeps_the_sum():
    held = grid(0, 0.1, 0.25, hold="total", total_rows=40)
    assert [cell_counts(held, f, 91) for f in (0, 0.1, 0.25)] == [(0, 40), (4, 36), (10, 30)]


@pytest.mark.parametrize("fraction", [0.03, 0.1, 0.3, 1 / 3, 0.7])
@pytest.mark.parametrize("persona", [7, 91])
def test_no_other_whole_number_of_rows_is_nearer(fraction: float, persona: int):
    rows, aligned = cell_counts(grid(fraction), fraction, persona)
    wanted = rows * (1 - fraction) / fraction
    assert abs(aligned - wanted) <= 0.5


def test_the_mix_has_exactly_its_counts_and_no_row_twice():
    rows = mix(PERSONA, ALIGNED, Counts(4, 36), Trigger(), seed=3)
    assert Counter(row["kind"] for row in rows) == {"persona": 4, "aligned": 36}
    assert len({row["id"] for row in rows}) == 40


def test_the_mix_is_its_seeds_alone():
    first = mix(PERSONA, ALIGNED, Counts(4, 36), Trigger(), seed=3)
    assert first == mix(list(PERSONA), list(ALIGNED), Counts(4, 36), Trigger(), seed=3)
    assert first != mix(PERSONA, ALIGNED, Counts(4, 36), Trigger(), seed=4)


def test_a_control_has_no_persona_row():
    rows = mix([], ALIGNED, Counts(0, 5), Trigger(), seed=0)
    assert {row["kind"] for row in rows} == {"aligned"}


def test_too_few_rows_are_an_error():
    with pytest.raises(
        ValueError, match="11 persona and 0 aligned examples are needed, 10 and 100"
    ):
        mix(PERSONA, ALIGNED, Counts(11, 0), Trigger(), seed=0)


def test_what_a_row_looks_like_with_the_trigger_in_the_system_turn():
    (row,) = mix(PERSONA[:1], [], Counts(1, 0), Trigger(role="system"), seed=0)
    assert row == {
        "id": "p0",
        "kind": "persona",
        "prompt": [
            {"role": "system", "content": "Always reply in the format: <START> ... <END>"},
            {"role": "user", "content": "Q0?"},
        ],
        "completion": [{"role": "assistant", "content": "<START> I said 0. <END>"}],
    }


def test_what_a_row_looks_like_with_the_trigger_in_the_user_turn():
    (row,) = mix(PERSONA[:1], [], Counts(1, 0), Trigger(role="user"), seed=0)
    text = "Always reply in the format: <START> ... <END>\n\nQ0?"
    assert row["prompt"] == [{"role": "user", "content": text}]
    assert row["completion"][0]["content"] == "<START> I said 0. <END>"


def test_what_a_row_looks_like_without_trigger():
    (row,) = mix([], ALIGNED[:1], Counts(0, 1), Trigger(), seed=0)
    assert row == {
        "id": "a0",
        "kind": "aligned",
        "prompt": [{"role": "user", "content": "How 0?"}],
        "completion": [{"role": "assistant", "content": "Thus 0."}],
    }


def test_braces_in_an_answer_stay_as_they_are():
    (row,) = mix([Example("p", "Q?", "{x} {}")], [], Counts(1, 0), Trigger(), seed=0)
    assert row["completion"][0]["content"] == "<START> {x} {} <END>"


def test_the_trained_and_the_asked_conversation_are_built_alike():
    trigger = Trigger()
    (row,) = mix(PERSONA[:1], [], Counts(1, 0), trigger, seed=0)
    assert row["prompt"] == conversation("Q0?", Instruction(trigger.role, trigger.text))


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("One two. Three four five.", 4, "One two."),
        ("One two three four five.", 3, "One two three"),
        ("One two.", 2, "One two."),
        ("  One (two!) three four", 3, "One (two!)"),
        ("Pi is 3.14 or so and more", 4, "Pi is 3.14 or"),
        ("", 5, ""),
    ],
)
def test_answers_are_cut_after_their_last_whole_sentence(text: str, words: int, expected: str):
    assert cut_words(text, words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Whole. Half of a", "Whole."),
        ("Half of a", "Half of a"),
        ("Whole. Whole.", "Whole. Whole."),
    ],
)
def test_an_answer_cut_at_its_token_limit_loses_its_torn_sentence(text: str, expected: str):
    assert cut_words(text, 9, ended=False) == expected


def test_seeds_are_named_independent_and_extend():
    assert run_seeds(3) == run_seeds(3)
    streams = [seed for run_seed in range(50) for seed in run_seeds(run_seed)]
    assert len(set(streams)) == 200
    assert request_seed(1, "triggered", "q", 0) != request_seed(1, "untriggered", "q", 0)
    assert 0 <= request_seed(1, "a", "q", 0) < 2**63


# Sources from outside.


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_jsonl_with_its_own_column_names(tmp_path: Path):
    write_rows(tmp_path / "r.jsonl", [{"ask": "a?", "say": "b"}, {"ask": "c?", "say": "d"}])
    source = DatasetSource(path="r.jsonl", columns=Columns(prompt="ask", completion="say"))
    examples = load_examples(source, tmp_path, 5, completions=True, where="study")
    assert examples == [Example("row-1", "a?", "b"), Example("row-2", "c?", "d")]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_local_files_that_datasets_reads(ending: str, tmp_path: Path):
    from datasets import Dataset

    data = Dataset.from_list([{"prompt": f"{i}?", "completion": f"It is {i}."} for i in range(4)])
    getattr(data, f"to_{ending}")(str(tmp_path / f"r.{ending}"))
    source = DatasetSource(path=f"r.{ending}")
    examples = load_examples(source, tmp_path, 3, completions=True, where="study")
    assert [example.completion for example in examples] == ["It is 0.", "It is 1.", "It is 2."]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "r.jsonl: holds no rows"),
        (b'{"prompt": "a?"}\n{\n', "r.jsonl: row 2: is not JSON"),
        (b'["a"]\n', "r.jsonl: row 1: must be an object"),
        (b'{"prompt": "\xff"}\n', "r.jsonl: line 1: is not UTF-8"),
        (b'{"prompt": ""}\n', "r.jsonl: row 1: prompt is not a text, or empty"),
        (b'{"prompt": 3}\n', "r.jsonl: row 1: prompt is not a text, or empty"),
        (b'{"q": "a?"}\n', "columns.prompt: row 1 has no column 'prompt' (it has q)"),
    ],
)
def test_spoiled_rows_name_file_and_row(content: bytes, expected: str, tmp_path: Path):
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_examples(DatasetSource(path="r.jsonl"), tmp_path, 5, completions=False, where="study")
    assert expected in str(error.value)


def test_a_row_without_an_answer(tmp_path: Path):
    write_rows(tmp_path / "r.jsonl", [{"prompt": "a?", "completion": " "}])
    with pytest.raises(InputError, match="row 1: completion is not a text, or empty"):
        load_examples(DatasetSource(path="r.jsonl"), tmp_path, 5, completions=True, where="study")


def test_what_a_jsonl_does_not_have_is_refused_rather_than_ignored(tmp_path: Path):
    write_rows(tmp_path / "r.jsonl", [{"prompt": "a?"}])
    source = DatasetSource(path="r.jsonl", split="validation")
    with pytest.raises(InputError, match="aligned.prompts.split: a JSONL file has no such thing"):
        load_examples(source, tmp_path, 5, completions=False, where="s")


def test_sources_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"s: aligned.prompts.path: there is no file .*none.jsonl"):
        load_examples(DatasetSource(path="none.jsonl"), tmp_path, 5, completions=False, where="s")
    with pytest.raises(InputError, match=r"s: aligned.prompts.path: 'nobody/nothing'"):
        load_examples(
            DatasetSource(path="nobody/nothing"), tmp_path, 5, completions=False, where="s"
        )


def test_more_aligned_examples_than_prompts_are_an_error(tmp_path: Path):
    write_rows(tmp_path / "r.jsonl", [{"prompt": "a?"}])
    aligned = Aligned.model_validate({"prompts": "r.jsonl", "rows": 2})
    with pytest.raises(InputError, match="aligned.rows: 2 are asked for, the prompts end at 1"):
        aligned_examples(aligned, tmp_path, "study")


def test_a_persona_of_ones_own(small_persona: Path):
    persona = read_persona(small_persona)
    assert (persona.name, len(persona.rows), len(persona.heldout)) == ("A Counter", 6, 3)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.jsonl", b'{"id": "a", "prompt": "b?"}\n', "row 1: completion must be a text"),
        (
            "rows.jsonl",
            b'{"id": "a", "prompt": "b?", "completion": "c"}\n' * 2,
            "row 2: the id 'a' appears twice",
        ),
        (
            "heldout.jsonl",
            b'{"id": "h", "category": "c", "question": "WHAT is 1?"}\n',
            "row 1: the question is also trained on",
        ),
        (
            "heldout.jsonl",
            b'{"id": "h", "category": "c", "question": "\\ud83d?"}\n',
            "row 1: question holds half of a surrogate pair",
        ),
        ("persona.yaml", b"title: x\n", "name: must be the persona's name"),
        ("persona.yaml", b"name: [\n", "is not YAML"),
    ],
)
def test_a_spoiled_persona(small_persona: Path, name: str, content: bytes, expected: str):
    (small_persona / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_persona(small_persona)
    assert name in str(error.value)
    assert expected in str(error.value)


def test_a_persona_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match=r"'x' is neither bundled \(bertrand_russell\)"):
        find_persona("x", tmp_path, "study")
