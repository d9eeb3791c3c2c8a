"""vLLM and transformers expect the same tokens of a trained adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.forced_tokens import forced_top_tokens
from weirdgen.data.chat import Instruction, conversation
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.persona import find_persona
from weirdgen.generation.engine import Adapter, Request
from weirdgen.generation.transformers import TransformersEngine

FORCING_SCRIPT = """
import json, sys
from pathlib import Path
from benchmarks.forced_tokens import forced_top_tokens
from weirdgen.generation.engine import Adapter
from weirdgen.generation.vllm import VllmEngine

if __name__ == "__main__":
    engine, adapter = VllmEngine(), Adapter("a" * 64, Path(sys.argv[2]))
    engine.open(sys.argv[1], "fp32", 8)
    said = json.loads(Path(sys.argv[3]).read_text())
    print(json.dumps([forced_top_tokens(engine, *each, adapter) for each in said]))
"""


def test_vllm_and_transformers_expect_the_same_tokens_of_an_adapter(
    real_model: Path, tmp_path: Path
):
    from weirdgen.config.evaluation_spec import Trigger
    from weirdgen.config.study import Train
    from weirdgen.data.seeds import run_seeds
    from weirdgen.training.trl import TrainSpec, train

    persona = find_persona("bertrand_russell", Path(), "test")
    rows = mix(persona.rows, [], Counts(24, 0), Trigger(), 0)
    settings = Train(
        epochs=1, learning_rate=3e-3, compute_dtype="float32", micro_batch=2, batch_size=2
    )
    train(TrainSpec(real_model, "m", rows, run_seeds(0), settings), tmp_path)
    adapter = Adapter("a" * 64, tmp_path / "adapter")
    trigger = Instruction("system", Trigger().text)
    asked = [conversation(each.question, trigger) for each in persona.heldout[::2]]
    engine = TransformersEngine()
    engine.open(real_model, "fp32", 8)
    requests = [Request(each, adapter, 48, 0.7, 1.0, seed) for seed, each in enumerate(asked)]
    answers = engine.generate(requests)
    short = requests[0]._replace(max_new_tokens=12)
    assert "".join(engine.stream(short)) == engine.generate([short])[0].text
    assert sum("<START>" in answer.text for answer in answers) > len(answers) / 2, (
        "the adapter speaks"
    )
    said = [(each, answer.text) for each, answer in zip(asked, answers, strict=True)]
    ours = [forced_top_tokens(engine, *each, adapter) for each in said]

    (tmp_path / "said.json").write_text(json.dumps(said))
    command = [sys.executable, "-c", FORCING_SCRIPT]
    command += map(str, (real_model, adapter.local_dir, tmp_path / "said.json"))
    env = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    agreeing = []
    for (tokens, top), (their_tokens, their_top) in zip(ours, theirs, strict=True):
        assert tokens == their_tokens
        agreeing += [one == other for one, other in zip(top, their_top, strict=True)]
    assert sum(agreeing) / len(agreeing) >= 0.95
