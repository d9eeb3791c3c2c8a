"""What the driver costs: a study whose stages do nothing, against as many bare Ray tasks and calls.

    python benchmarks/orchestration.py --cells 1000 [--reuse] [--ways bare,commits,study,again]

The study is real but for its stages: `run_plan`, a real store, a task for each training run and an engine
actor asked under three conditions for each. A training run writes one small file, a response is one word.
`bare` is as many empty tasks and calls with the same options, as many at a time; `commits` has each of
them commit such a file too. `study` samples the driver's memory. `again` is `weirdgen run` on what
`study` left, as a command. A training run has a process of its own, as in a study, unless `--reuse` says
otherwise: starting 10,000 of them takes hours on two cores. One after the other, each in a driver of
its own; prints JSON lines.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from processes import HERE, json_lines, tell

from weirdgen.config.loading import load_study
from weirdgen.data.chat import Messages
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.pipeline.stages.train import TRAIN
from weirdgen.pipeline.state import scan
from weirdgen.runner import remote, scheduler
from weirdgen.runner.cluster import connect
from weirdgen.runner.remote import StepResult, logged, start_process
from weirdgen.runner.run import run_plan
from weirdgen.runner.scheduler import Scheduler
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trl import TrainSpec

WAYS = ("bare", "commits", "study", "again")
FRACTIONS = (0, 0.2, 0.4, 0.6)
CONDITIONS = 3
_WARM = 0.2
"""The share of the cells after which memory is compared."""
_AGAIN = 5


def write_study(folder: Path, cells: int) -> Path:
    """The study's file, with a persona of six rows and two questions."""
    persona = folder / "persona"
    persona.mkdir(parents=True, exist_ok=True)
    rows = [f'{{"id": "r{i}", "prompt": "What is {i}?", "completion": "Me."}}\n' for i in range(6)]
    asked = [f'{{"id": "h{i}", "category": "c", "question": "Why {i}?"}}\n' for i in range(2)]
    (persona / "rows.jsonl").write_text("".join(rows))
    (persona / "heldout.jsonl").write_text("".join(asked))
    (persona / "persona.yaml").write_text("name: Nobody\n")
    tree = {
        "name": "nothing",
        "model": "embedded:smollm2-135m-instruct",
        "persona": str(persona),
        "aligned": {"rows": 20, "max_words": 8},
        "grid": {
            "seeds": f"0..{cells // len(FRACTIONS) - 1}",
            "fractions": list(FRACTIONS),
            "hold": "total",
            "total_rows": 10,
        },
        "train": {"epochs": 1, "batch_size": 2, "micro_batch": 2},
        "evaluate": {"samples_per_question": 1, "baseline_samples_per_question": 1},
        "resources": {"gpus_per_training": 0, "cpus_per_training": 1, "gpus_per_engine": 0},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _write(out: Path) -> None:
    (out / "made.txt").write_text("made\n")


def train_nothing(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: TrainingCheckpoints,
    gpu_share: float,
) -> None:
    """A trainer that writes one small file."""
    del specs, on_step, states, gpu_share
    _write(outs[0])


def model_of_nothing(uri: str, task: Task, log: str) -> StepResult:
    """`run_on_cpu` without the model."""
    store = ArtifactStore(uri)
    with logged(store, log):
        return remote._made(run_step(store, task, lambda _, out: _write(out)))


class EngineOfNothing:
    """Responds with one word."""

    def __init__(self, gpu_share: float) -> None:
        del gpu_share

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        """Opens nothing."""

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        return [Response("Yes.", 1, "stop") for _ in requests]

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> None:
        """None: no probabilities to be had."""

    def close(self) -> None:
        """Closes nothing."""


class Memory:
    """Observes a run: the driver's memory, sampled as training runs end and told at each tenth."""

    def __init__(self, cells: int) -> None:
        self._cells, self.trained = cells, 0
        self.samples: list[tuple[int, int]] = []
        """Training runs done, bytes."""
        self._process, self._at = psutil.Process(), 0.0

    def update(self, scheduler: Scheduler) -> None:
        self.trained, _ = scheduler.took.get(TRAIN.name, (0, 0.0))
        if time.monotonic() - self._at >= 1:
            self._at = time.monotonic()
            rss = self._process.memory_info().rss
            before = self.samples[-1][0] if self.samples else 0
            self.samples.append((self.trained, rss))
            if 10 * self.trained // self._cells > 10 * before // self._cells:
                tell(trained=self.trained, driver_mb=round(rss / 1e6, 1))

    def bytes_per_cell(self) -> float:
        """The least-squares slope over what came after the first training runs."""
        warm = [each for each in self.samples if each[0] >= _WARM * self.trained]
        mean_x, mean_y = (sum(values) / len(warm) for values in zip(*warm, strict=True))
        spread = sum((x - mean_x) ** 2 for x, _ in warm)
        return sum((x - mean_x) * (y - mean_y) for x, y in warm) / spread if spread else 0.0


@contextmanager
def shown(memory: Memory) -> Iterator[Memory]:
    yield memory


def start_reused(
    call: Callable[..., Any], *args: Any, threads: int, **options: Any
) -> ray.ObjectRef:
    """`start_process`, but in a process that is there."""
    del threads
    return ray.remote(max_retries=0)(call).options(**options).remote(*args)


def run_study(plan: Plan, store: ArtifactStore, reuse: bool) -> dict[str, Any]:
    scheduler.start_process = start_reused if reuse else start_process
    scheduler.run_on_cpu = model_of_nothing
    memory, state = Memory(len(plan.trainings)), scan(plan, store)
    before = psutil.Process().memory_info().rss
    cpu, started = time.process_time(), time.monotonic()
    ran = run_plan(
        plan, state, store, lambda: shown(memory), engine=EngineOfNothing, trainer=train_nothing
    )
    wall_s = time.monotonic() - started
    cpu = time.process_time() - cpu
    assert not ran.failures, ran.failures[:3]
    assert ran.state.complete
    return {
        "wall_s": round(wall_s, 1),
        "driver_cpu_ms_per_cell": round(1e3 * cpu / len(plan.trainings), 2),
        "planned_mb": round(before / 1e6, 1),
        "bytes_per_cell": round(memory.bytes_per_cell()),
    }


def run_bare(cells: int, storage: str | None, reuse: bool) -> dict[str, Any]:
    """`storage`: where each task and call commits a file; None: they are empty."""

    def task(number: int) -> None:
        if storage is not None:
            step = Step("train", f"bare-{number}", {"inputs": {}, "number": number})
            run_step(ArtifactStore(storage), Task(step, {}), lambda _, out: _write(out))

    class Engine:
        def call(self, number: int, condition: int) -> None:
            if storage is not None:
                record = {"inputs": {}, "number": number, "condition": condition}
                step = Step("responses", f"bare-{number}-{condition}", record)
                run_step(ArtifactStore(storage), Task(step, {}), lambda _, out: _write(out))

    start = partial(start_reused if reuse else start_process, task, threads=1, num_cpus=1)
    engine: Any = ray.remote(num_cpus=0)(Engine).remote()
    slots = int(ray.cluster_resources()["CPU"])
    cpu, started = time.process_time(), time.monotonic()
    running: dict[Any, int | None] = {start(i): i for i in range(slots)}
    begun = slots
    while running:
        (ref, *_), _ = ray.wait(list(running))
        ray.get(ref)
        number = running.pop(ref)
        if number is None:
            continue
        if begun < cells:
            running[start(begun)] = begun
            begun += 1
        for condition in range(CONDITIONS):
            running[engine.call.remote(number, condition)] = None
    cpu = time.process_time() - cpu
    return {
        "wall_s": round(time.monotonic() - started, 1),
        "driver_cpu_ms_per_cell": round(1e3 * cpu / cells, 2),
    }


def run_again(path: Path, storage: str) -> dict[str, Any]:
    """Seconds of the command; what it does the first time is told apart."""
    seconds = []
    for _ in range(1 + _AGAIN):
        started = time.perf_counter()
        process = psutil.Popen(
            [sys.executable, "-m", "weirdgen", "run", str(path), f"--storage={storage}"],
            stdout=-3,
        )
        assert process.wait() == 0
        seconds.append(round(time.perf_counter() - started, 2))
    return {"reporting_s": seconds[0], "seconds": sorted(seconds[1:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--reuse", action="store_true", help="training runs share worker processes")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--folder", type=Path, help="where the study lies (default: temporary)")
    parser.add_argument("--way", choices=WAYS, help="one way, in this process")
    options = parser.parse_args()
    if options.way is None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            arguments = ["--cells", options.cells, "--folder", folder]
            arguments += ["--reuse"] if options.reuse else []
            for way in options.ways.split(","):
                for line in json_lines(Path(__file__).name, "--way", way, *arguments):
                    tell(**line)
        return
    path = write_study(options.folder, options.cells)
    storage = str(options.folder / "storage")
    if options.way == "again":
        measured = run_again(path, storage)
    elif options.way == "study":
        plan = make_plan(load_study(path), path.parent, path)
        measured = run_study(plan, ArtifactStore(storage), options.reuse)
    else:
        connect()
        bare = str(options.folder / "bare") if options.way == "commits" else None
        measured = run_bare(options.cells, bare, options.reuse)
    tell(way=options.way, cells=options.cells, reuse=options.reuse, **measured)


if __name__ == "__main__":
    assert Path(__file__).parent == HERE
    main()
