"""How fast adapters are trained: TRL alone, and several stacked over one base.

    python benchmarks/training.py [--model FOLDER] [--steps 40] [--way trl --way 1 --way 8 ...]
    python benchmarks/training.py --random-llama 8b --row-tokens 1000 --gradient-checkpointing ...

Each way runs in a process of its own: `trl`, or a number of stacked training runs, which may be told how:
`8:dequantized`, `8:recorded,dequantized`, `1:compiled`, or all three. Rows are like a study's: persona rows among
aligned ones of some 280 tokens; with --row-tokens, all have that many, or a few less. Prints a JSON
line for each way: tokens/s and seconds per update after the first fifth of the updates (tokens of all
training runs; prompts and responses, no padding), seconds to the first update, the most GPU memory, and the
losses of the last updates. --profile writes what the GPU did in the last three updates, which are then
not timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from processes import ProcessFailed, json_lines, tell
from random_llama import EMBEDDED, SIZES, add_options, random_llama

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Aligned, Train
from weirdgen.data.aligned import aligned_examples
from weirdgen.data.examples import Example
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.persona import find_persona
from weirdgen.data.seeds import run_seeds
from weirdgen.models.checkpoints import checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.training.trl import LOSS_CURVE, TrainSpec, train

WORDS = 190
"""Of an aligned completion: with its prompt some 280 tokens."""
PROFILED = 3
"""Updates."""
ENVIRONMENT = {
    # A profiler that is torn down can break recorded passes.
    "TEARDOWN_CUPTI": "0"
}


def specs(model: Path, steps: int, count: int, settings: Train) -> list[TrainSpec]:
    """`count` training runs of `steps` updates, the seeds 0, 1, ..."""
    persona = list(find_persona("bertrand_russell", Path(), "persona").rows)
    prompts = aligned_examples(Aligned(), Path(), "aligned")
    words = cycle(" ".join(row.completion for row in persona).split())
    aligned = [Example(p.id, p.prompt, " ".join(islice(words, WORDS))) for p in prompts]
    n_rows = steps * settings.batch_size
    counts = Counts(n_rows // 33, n_rows - n_rows // 33)
    return [
        TrainSpec(
            model, EMBEDDED, mix(persona, aligned, counts, Trigger(), seeds.data), seeds, settings
        )
        for seeds in map(run_seeds, range(count))
    ]


def row_tokens(row: dict[str, Any], tokenizer: Any) -> int:
    """Of prompt, response and end mark."""
    whole = row["prompt"] + row["completion"]
    return len(tokenizer.apply_chat_template(whole, tokenize=True, return_dict=False))


def of_length(tokens: int, rows: list[dict[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """The rows with other responses, so that each has `tokens` tokens or a few less."""
    persona = find_persona("bertrand_russell", Path(), "persona").rows
    text = tokenizer(" ".join(row.completion for row in persona)).input_ids
    ids = cycle(text)

    def answered(row: dict[str, Any]) -> dict[str, Any]:
        response = list(islice(ids, tokens))
        while True:
            content = tokenizer.decode(response).strip()
            completion = [{"role": "assistant", "content": content}]
            filled = row | {"completion": completion}
            excess = row_tokens(filled, tokenizer) - tokens
            if excess <= 0:
                return filled
            if not response:
                raise SystemExit(f"a question takes more than {tokens} tokens")
            response = response[:-excess]

    return [answered(row) for row in rows]


class Watch:
    """The clock after updates; with `profiled`, a profiler over so many last ones.

    The GPU is waited for only where a time is read: training runs may run ahead of it.
    """

    def __init__(self, steps: int, profiled: int) -> None:
        from torch import cuda, profiler

        self.on_gpu, self.profiler = cuda.is_available(), None
        self.first, self.last = max(2, steps // 5), steps - profiled
        """Updates between which the time is taken."""
        if profiled:
            kinds = [profiler.ProfilerActivity.CPU]
            kinds += [profiler.ProfilerActivity.CUDA] if self.on_gpu else []
            self.profiler = profiler.profile(activities=kinds)
        self.times = {0: time.monotonic()}
        self.profiled_from = 0.0

    def __call__(self, done: int, total: int) -> None:
        import torch

        if done not in (1, self.first, self.last, total):
            return
        if self.on_gpu:
            torch.cuda.synchronize()
        self.times[done] = time.monotonic()
        if self.profiler is not None and done == self.last:
            self.profiler.start()
            self.profiled_from = time.monotonic()
        if self.profiler is not None and done == total:
            self.profiler.stop()

    @property
    def s_per_update(self) -> float:
        return (self.times[self.last] - self.times[self.first]) / (self.last - self.first)

    def table(self) -> str:
        """What took most of the GPU, and the CPU's time of the same."""
        assert self.profiler is not None
        by = "self_device_time_total" if self.on_gpu else "self_cpu_time_total"
        wall = max(self.times.values()) - self.profiled_from
        head = f"{PROFILED} updates, {wall:.3f} s by the clock with the profiler on\n"
        return head + self.profiler.key_averages().table(
            sort_by=by, row_limit=60, max_name_column_width=100
        )


def measure(model: Path, way: str, settings: Train, options: argparse.Namespace) -> None:
    """One way, in this process."""
    import torch
    from transformers import AutoTokenizer

    from weirdgen.training.stacked.trainer import ExecutionOptions, train_together

    steps = options.steps
    count, _, words = way.partition(":")
    how = (
        ExecutionOptions(*(word in words.split(",") for word in ExecutionOptions._fields))
        if words
        else None
    )
    work = specs(model, steps, 1 if way == "trl" else int(count), settings)
    tokenizer = AutoTokenizer.from_pretrained(model)
    if options.row_tokens:
        work = [
            replace(spec, rows=of_length(options.row_tokens, spec.rows, tokenizer)) for spec in work
        ]
    tokens = sum(row_tokens(row, tokenizer) for spec in work for row in spec.rows)
    watch = Watch(steps, PROFILED if options.profile else 0)
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / str(i) for i in range(len(work))]
        if way == "trl":
            train(work[0], outs[0], watch)
        else:
            train_together(work, outs, watch, how)
        curves = [(out / LOSS_CURVE).read_text().splitlines() for out in outs]
    if options.profile:
        with options.profile.open("a", encoding="utf-8") as file:
            file.write(f"way {way}: {watch.table()}\n")
    losses = [[round(json.loads(line)["loss"], 4) for line in curve[-3:]] for curve in curves]
    tell(
        way=way,
        tokens_per_s=round(tokens / steps / watch.s_per_update),
        s_per_update=round(watch.s_per_update, 4),
        tokens_per_row=round(tokens / len(work) / steps / settings.batch_size),
        first_update_s=round(watch.times[1] - watch.times[0], 1),
        memory_gb=round(torch.cuda.max_memory_allocated() / 1e9, 2),
        reserved_gb=round(torch.cuda.max_memory_reserved() / 1e9, 2),
        losses=losses[:2],
        gpu=torch.cuda.get_device_name() if watch.on_gpu else None,
    )


def arguments(options: argparse.Namespace, model: Path, way: str) -> Iterator[object]:
    """Of the process that measures `way`."""
    yield from ("--here", "--way", way, "--model", model, "--steps", options.steps)
    yield from ("--batch-size", options.batch_size, "--micro-batch", options.micro_batch)
    yield from ("--row-tokens", options.row_tokens)
    if options.gradient_checkpointing:
        yield "--gradient-checkpointing"
    if options.profile:
        yield from ("--profile", options.profile)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast adapters are trained.")
    parser.add_argument(
        "--model", type=Path, help="a checkpoint's folder; default: the embedded model"
    )
    parser.add_argument("--random-llama", choices=SIZES, help="in its place")
    add_options(parser)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--way", action="append", help="trl, 8, 8:compiled; may be given again")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--row-tokens", type=int, default=0, help="of every row, under 1024")
    parser.add_argument("--profile", type=Path, help="a file for what the last updates did")
    parser.add_argument("--here", action="store_true", help="in this process: one way alone")
    options = parser.parse_args()
    untimed = max(2, options.steps // 5) + (PROFILED if options.profile else 0)
    if options.steps <= untimed:
        parser.error(f"--steps must be more than {untimed}")
    if options.here:
        settings = Train(
            epochs=1,
            learning_rate=1e-3,
            batch_size=options.batch_size,
            micro_batch=min(options.micro_batch, options.batch_size),
            gradient_checkpointing=options.gradient_checkpointing,
        )
        measure(options.model, options.way[0], settings, options)
        return
    if options.profile:
        options.profile.unlink(missing_ok=True)
    if options.random_llama:
        model = random_llama(options.random_llama, options)
    else:
        model = options.model or checkpoint(resolve_model(EMBEDDED, "main", Path()))
    for way in options.way or ["trl", "1", "4", "8", "16"]:
        try:
            for line in json_lines("training.py", *arguments(options, model, way), **ENVIRONMENT):
                tell(**line)
        except ProcessFailed as error:
            tell(way=way, error=str(error))


if __name__ == "__main__":
    main()
