"""What one cell of a study takes without this tool: a script with TRL, then one with vLLM.

    python benchmarks/plain_cell.py --study FILE --storage DIR [--fraction 0.03] [--seed 0] [--steps N]

The storage holds the model and the aligned examples of the study, whose training runs need not be there.
Rows, hyperparameters, questions and seeds are the cell's, which must be in NF4, without gradient
checkpointing, its micro-batch being its batch; the scripts, `plain_train.py` and `plain_ask.py`, know
nothing of weirdgen. Prints, as JSON lines, the seconds of each part by the clock
of this process, and those of the whole. With --steps only so many updates are made, and
`extrapolated_s` is what the whole would take with all of them; the adapter then responds otherwise
than a trained one, at other lengths.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from processes import json_lines, tell
from stored_study import Stored, add_options, stored

from weirdgen.pipeline.stages.base import Training
from weirdgen.pipeline.stages.train import GridCell, train_spec
from weirdgen.training.trainer import train_adapters


def write_cell(study: Stored, cell: GridCell, steps: int | None, folder: Path) -> None:
    """What the scripts read, in `folder`."""
    if cell not in study.plan.trainings:
        raise SystemExit(f"the study has no fraction {cell.fraction} with the seed {cell.seed}")
    task = study.task(study.plan.trainings[cell])
    settings = study.plan.study.train
    training = Training(train_adapters, (), settings.micro_batch, 0, lambda _done, _total: None)
    spec = train_spec(study.running(task), training)
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in spec.rows]
    updates = -(-len(rows) // settings.batch_size) * settings.epochs
    sampling = study.plan.study.evaluate.sampling
    content = {
        "model": str(spec.model_dir),
        "settings": settings.model_dump(),
        "seeds": spec.seeds._asdict(),
        "steps": min(steps or updates, updates),
        "sampling": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
        },
        "asked": {
            asked.condition: study.conversations(asked)
            for asked in study.plan.response_sets
            if asked.cell == cell
        },
    }
    (folder / "cell.json").write_text(json.dumps(content), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="What one cell takes without weirdgen.")
    add_options(parser)
    parser.add_argument("--fraction", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="updates, 2 or more; default: all of the cell's")
    options = parser.parse_args()
    if options.steps is not None and options.steps < 2:
        parser.error("--steps must be 2 or more")
    study = stored(options)
    trained = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cell(study, GridCell(options.fraction, options.seed), options.steps, folder)
        at = started = time.monotonic()
        for script in ("plain_train.py", "plain_ask.py"):
            for did in json_lines(script, folder):
                at, before = time.monotonic(), at
                tell(script=script, **did, s=round(at - before, 2))
                if did["did"] == "trained":
                    trained = did
            at, before = time.monotonic(), at
            tell(script=script, did="ended", s=round(at - before, 2))
    whole = {"whole_s": round(at - started, 1)}
    if left := trained["of"] - trained["updates"]:
        whole["updates_not_made"] = left
        whole["extrapolated_s"] = round(at - started + left * trained["s_per_update"], 1)
    tell(**whole)


if __name__ == "__main__":
    main()
