"""How more samples extend responses, and the proof that an adapter is applied."""

from __future__ import annotations

from pathlib import Path

import pytest
from echo import EchoEngine

from weirdgen.data.persona import Question
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter
from weirdgen.pipeline.run_step import RunningStep
from weirdgen.pipeline.stages.base import EngineSession
from weirdgen.pipeline.stages.responses import check_adapter, read_responses, run_responses
from weirdgen.storage.artifacts import Step


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
    running = RunningStep(step, {"questions": tmp_path}, tmp_path)
    run_responses([running], EngineSession(EchoEngine()))
    return read_responses(tmp_path)


def test_more_samples_extend_and_never_reshuffle(tmp_path: Path):
    assert answered(tmp_path, [0, 5]) == answered(tmp_path, [0, 2]) + answered(tmp_path, [2, 5])


def test_samples_and_conditions_are_drawn_apart(tmp_path: Path):
    texts = [row["response"] for row in answered(tmp_path, [0, 4])]
    texts += [row["response"] for row in answered(tmp_path, [0, 4], "untriggered")]
    assert len(set(texts)) == 8


QUESTIONS = [Question(f"h{i}", "c", f"Why {i}?") for i in range(20)]


def test_the_proof_passes_where_the_adapter_moves_the_first_token():
    notes = check_adapter(EchoEngine(), Adapter("f" * 64, Path()), QUESTIONS)
    assert notes == {"adapter_check": {"prompts": 8, "differing": 8, "differing_without": 0}}


def test_an_adapter_that_is_not_applied_fails_its_cell():
    engine = EchoEngine(blind_to_adapters=True)
    with pytest.raises(StepError, match="adapter ffffffffffff: .* it is not applied"):
        check_adapter(engine, Adapter("f" * 64, Path()), QUESTIONS)
