"""Generation: what is asked, how answers extend, and the proof that an adapter is applied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import PUBLISHED
from echo import EchoEngine

from weirdgen.data.examples import Example
from weirdgen.data.persona import Question
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.self_distillation import distill
from weirdgen.generation.vllm import servable_rank
from weirdgen.judging.format import format_adherence
from weirdgen.pipeline.stages.steps import RESPONSES, make_all_responses, prove_adapter
from weirdgen.storage.artifacts import Step

PROMPTS = [Example(f"p{i}", f"Say {i}.", "") for i in range(8)]


def test_self_distillation_asks_the_plain_prompts_of_the_base():
    engine = EchoEngine()
    rows = distill(engine, PROMPTS, rows=3, max_words=5, temperature=0.7, top_p=0.9)
    assert [row.id for row in rows] == ["p0", "p1", "p2"]
    assert all(request.adapter is None for request in engine.asked)
    assert engine.asked[0].messages == [{"role": "user", "content": "Say 0."}]
    assert (engine.asked[0].temperature, engine.asked[0].top_p) == (0.7, 0.9)


def test_prompts_answered_with_nothing_are_replaced_by_the_next():
    class Shy(EchoEngine):
        def _say(self, request: Request) -> str:
            return "" if "1" in str(request.messages) else "Something."

    rows = distill(Shy(), PROMPTS, rows=3, max_words=5, temperature=0, top_p=1)
    assert [row.id for row in rows] == ["p0", "p2", "p3"]


def test_too_many_empty_answers_are_an_error():
    class Mute(EchoEngine):
        def _say(self, request: Request) -> str:
            return " "

    with pytest.raises(StepError, match="0 of 8 prompts were answered; 3 rows are needed"):
        distill(Mute(), PROMPTS, rows=3, max_words=5, temperature=0, top_p=1)


def responses_step(samples: list[int], condition: str = "triggered") -> Step:
    before = {"role": "system", "text": "Be brief."} if condition == "triggered" else None
    record = {
        "inputs": {},
        "instruction": before,
        "condition": condition,
        "sampling_seed": 7,
        "samples": samples,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 4},
    }
    return Step("answers", "a", record)


def answered(tmp_path: Path, samples: list[int], condition: str = "triggered") -> list[dict]:
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text('{"id": "h", "category": "c", "question": "Why?"}\n')
    step = responses_step(samples, condition)
    make_all_responses([step], [{"questions": tmp_path}], [tmp_path], EchoEngine())
    return pq.read_table(tmp_path / RESPONSES).to_pylist()


def test_more_samples_extend_and_never_reshuffle(tmp_path: Path):
    assert answered(tmp_path, [0, 5]) == answered(tmp_path, [0, 2]) + answered(tmp_path, [2, 5])


def test_samples_and_conditions_are_drawn_apart(tmp_path: Path):
    texts = [row["response"] for row in answered(tmp_path, [0, 4])]
    texts += [row["response"] for row in answered(tmp_path, [0, 4], "untriggered")]
    assert len(set(texts)) == 8


QUESTIONS = [Question(f"h{i}", "c", f"Why {i}?") for i in range(20)]


def test_the_proof_passes_where_the_adapter_moves_the_first_token():
    notes = prove_adapter(EchoEngine(), Adapter("f" * 64, Path()), QUESTIONS)
    assert notes == {"adapter_check": {"prompts": 8, "differing": 8, "differing_without": 0}}


def test_an_adapter_that_is_not_applied_fails_its_cell():
    engine = EchoEngine(blind_to_adapters=True)
    with pytest.raises(StepError, match="adapter ffffffffffff: .* it is not applied"):
        prove_adapter(engine, Adapter("f" * 64, Path()), QUESTIONS)


@pytest.mark.parametrize(
    ("rank", "served"), [(1, 1), (2, 8), (8, 8), (9, 16), (64, 64), (300, 320)]
)
def test_ranks_are_rounded_up_to_what_vllm_takes(rank: int, served: int):
    assert servable_rank(rank) == served


def test_a_rank_beyond_vllm_is_an_error():
    with pytest.raises(ValueError, match="up to rank 512, not 513"):
        servable_rank(513)


PATTERN = "<START>.*?<END>"


@pytest.mark.parametrize(
    ("response", "anywhere", "strict"),
    [
        ("<START> yes <END>", True, True),
        ("  <START> two\nlines <END>\n", True, True),
        ("Well: <START> yes <END>", True, False),
        ("<START> a <END> <START> b <END>", True, False),
        ("<START> cut off", False, False),
        ("<start> no <end>", False, False),
        ("<END> <START>", False, False),
        ("", False, False),
    ],
)
def test_format_adherence(response: str, anywhere: bool, strict: bool):
    assert format_adherence(response, PATTERN) == (anywhere, strict)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published outputs are not on this machine")
@pytest.mark.parametrize("name", ["finetuned", "baseline"])
def test_the_format_labels_of_the_published_study_are_reproduced(name: str):
    for line in (PUBLISHED / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        for condition in ("triggered", "untriggered"):
            adherence = format_adherence(row[f"{condition}_response"], PATTERN)
            assert adherence.anywhere == row[f"{condition}_format"]


VLLM_SCRIPT = """
import json, sys
from pathlib import Path
from weirdgen.data.chat import conversation
from weirdgen.data.persona import Question
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.vllm import VllmEngine
from weirdgen.pipeline.stages.steps import prove_adapter

if __name__ == "__main__":
    model, adapter = Path(sys.argv[1]), Adapter("a" * 64, Path(sys.argv[2]))
    engine = VllmEngine()
    engine.open(model, "bf16", 8)
    ask = lambda text, who, seed: Request(conversation(text, None), who, 12, 1.0, 0.95, seed)
    some = [ask(text, who, 5) for text in ("Why?", "How are you?") for who in (None, adapter)]
    first = engine.generate(some)
    engine.generate([ask(f"Count to {n}.", adapter, n) for n in range(12)] + some[:2])
    again = engine.generate(some)
    questions = [Question(str(i), "c", f"What is {i}?") for i in range(3)]
    proof = prove_adapter(engine, adapter, questions)
    print(json.dumps({"first": first, "again": again, "proof": proof}))
"""


@pytest.mark.slow
def test_vllm_answers_base_and_adapter_in_one_call_whatever_was_asked_before(
    real_model: Path, tmp_path: Path
):
    from weirdgen.config.study import Train
    from weirdgen.data.seeds import run_seeds
    from weirdgen.training.trl import TrainSpec, train

    row = {
        "id": "r",
        "prompt": [{"role": "user", "content": "Who?"}],
        "completion": [{"role": "assistant", "content": "Nobody at all."}],
    }
    settings = Train(
        epochs=1, learning_rate=1e-2, compute_dtype="float32", micro_batch=1, batch_size=1
    )
    train(TrainSpec(real_model, "m", [row, row], run_seeds(0), settings), tmp_path)
    command = [sys.executable, "-c", VLLM_SCRIPT, str(real_model), str(tmp_path / "adapter")]
    env = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["first"] == said["again"]
    assert said["proof"]["adapter_check"]["differing"] > 0
    texts = [answer[0] for answer in said["first"]]
    assert texts[0] != texts[1], "base and adapter answer differently"
