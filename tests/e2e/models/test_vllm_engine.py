"""Generation by vLLM with the real model: base and adapter in one call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

VLLM_SCRIPT = """
import json, sys
from pathlib import Path
from weirdgen.data.chat import conversation
from weirdgen.data.persona import Question
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.vllm import VllmEngine
from weirdgen.pipeline.stages.responses import check_adapter

if __name__ == "__main__":
    model, adapter = Path(sys.argv[1]), Adapter("a" * 64, Path(sys.argv[2]))
    engine = VllmEngine()
    engine.open(model, "fp32", 8)
    ask = lambda text, who, seed: Request(conversation(text, None), who, 12, 1.0, 0.95, seed)
    some = [ask(text, who, 5) for text in ("Why?", "How are you?") for who in (None, adapter)]
    first = engine.generate(some)
    engine.generate([ask(f"Count to {n}.", adapter, n) for n in range(12)] + some[:2])
    again = engine.generate(some)
    questions = [Question(str(i), "c", f"What is {i}?") for i in range(3)]
    proof = check_adapter(engine, adapter, questions)
    print(json.dumps({"first": first, "again": again, "proof": proof}))
"""


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
