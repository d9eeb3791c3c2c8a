"""How fast adapters are trained: TRL alone, and several stacked over one base.

    python benchmarks/training.py [--model FOLDER] [--steps 40] [--way trl --way 1 --way 8 ...]

Each way runs in a process of its own: `trl`, or a number of stacked trainings. Rows are like a study's:
persona rows among ordinary ones of some 280 tokens. Prints, as JSON lines, tokens/s after the first
fifth of the steps (aggregate over the trainings; prompts and answers, no padding), seconds to the first
update, the most GPU memory, and the losses of the last steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from weirdgen.checkpoints import checkpoint
from weirdgen.data.aligned import ordinary_pairs
from weirdgen.data.mix import Counts, Pair, mix
from weirdgen.data.persona import find_persona
from weirdgen.labelling import Trigger
from weirdgen.models import resolve_model
from weirdgen.seeds import run_seeds
from weirdgen.study import Aligned, Train
from weirdgen.train import LOSS_CURVE, TrainSpec, train

EMBEDDED = "embedded:smollm2-135m-instruct"
WORDS = 190
"""Of an ordinary answer: with its question some 280 tokens."""


def specs(model: Path, steps: int, count: int, settings: Train) -> list[TrainSpec]:
    """`count` trainings of `steps` updates, the seeds 0, 1, ..."""
    persona = list(find_persona("bertrand_russell", Path(), "persona").rows)
    prompts = ordinary_pairs(Aligned(), Path(), "aligned")
    words = cycle(" ".join(pair.answer for pair in persona).split())
    aligned = [Pair(p.id, p.question, " ".join(islice(words, WORDS))) for p in prompts]
    n_rows = steps * settings.batch_size
    counts = Counts(n_rows // 33, n_rows - n_rows // 33)
    return [
        TrainSpec(
            model, EMBEDDED, mix(persona, aligned, counts, Trigger(), seeds.data), seeds, settings
        )
        for seeds in map(run_seeds, range(count))
    ]


def measure(model: Path, steps: int, way: str, settings: Train) -> dict[str, object]:
    """One way, in this process."""
    import torch
    from transformers import AutoTokenizer

    from weirdgen.train_together import tokenize, train_together

    stacked = way != "trl"
    work = specs(model, steps, int(way) if stacked else 1, settings)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens = sum(len(row.input_ids) for spec in work for row in tokenize(spec, tokenizer))
    times = [time.monotonic()]

    def on_step(_done: int, _total: int) -> None:
        torch.cuda.synchronize()
        times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / str(i) for i in range(len(work))]
        if stacked:
            train_together(work, outs, on_step)
        else:
            train(work[0], outs[0], on_step)
        curves = [(out / LOSS_CURVE).read_text().splitlines() for out in outs]
    skipped = max(2, steps // 5)
    share = (steps - skipped) / steps
    last = [[round(json.loads(line)["loss"], 4) for line in curve[-3:]] for curve in curves]
    return {
        "way": way,
        "tokens_per_s": round(tokens * share / (times[-1] - times[skipped])),
        "tokens_per_row": round(tokens / len(work) / steps / settings.batch_size),
        "first_update_s": round(times[1] - times[0], 1),
        "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "losses": last[:2],
        "gpu": torch.cuda.get_device_name(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast adapters are trained.")
    parser.add_argument(
        "--model", type=Path, help="a checkpoint's folder; default: the embedded model"
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--way", action="append", help="trl, or a number; may be given again")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--here", action="store_true", help="in this process: one way alone")
    options = parser.parse_args()
    model = options.model or checkpoint(resolve_model(EMBEDDED, "main", Path()))
    if options.here:
        settings = Train(epochs=1, learning_rate=1e-3, micro_batch=options.micro_batch)
        print(json.dumps(measure(model, options.steps, options.way[0], settings)))
        return
    for way in options.way or ["trl", "1", "4", "8", "16"]:
        again = [sys.executable, __file__, "--here", "--way", way, "--model", str(model)]
        again += ["--steps", str(options.steps), "--micro-batch", str(options.micro_batch)]
        done = subprocess.run(again, capture_output=True, text=True, check=False)
        print(
            done.stdout.strip().rpartition("\n")[2]
            if done.returncode == 0
            else f"{way}: {done.stderr[-2000:]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
