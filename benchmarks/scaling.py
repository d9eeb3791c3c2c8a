"""How a study scales over the GPUs of one machine: the same study on 1, 2, 4, 8 of them.

    python benchmarks/scaling.py --study FILE --out DIR [--gpus 1 --gpus 2 ...] [--set train.epochs=1 ...]

What all training runs share (checkpoint, aligned examples, judge) is made once, by a run with one seed and one
sample; then each number of GPUs has a storage of its own below DIR, which begins with just that, and
`weirdgen run` with so many GPUs visible. Prints a JSON line for each: seconds of the whole command; from the
first training run's start to the last response's end (`work_s`) and training runs per hour of that; idle shares by the
timeline. At the end the speed-ups, whether all training runs had the same rows, byte for byte, and how many rates
lie outside of the 95% intervals of the smallest number; DIR gets scaling.json, scaling.md and scaling.png. With
`--gpus 0`, of a study on the CPU, the same is made without GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from matplotlib.figure import Figure
from processes import tell

from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import scan
from weirdgen.report.summary import STATS
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.timeline import Span, read_timeline

SHARED = ("model", "persona_examples", "questions", "prompts", "aligned", "offline_judge")
"""The stages whose artifacts every number of GPUs begins with."""
ROWS = "rows.jsonl"


def run(study: Path, storage: Path, gpus: int, changes: Sequence[str]) -> float:
    """`weirdgen run` with so many GPUs visible; gives its seconds. Ends the program where it fails."""
    command = [sys.executable, "-m", "weirdgen", "run", str(study), "--storage", str(storage)]
    command += [part for change in changes for part in ("--set", change)]
    visible = ",".join(map(str, range(gpus)))
    storage.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (storage / "run.log").open("ab") as log:
        done = subprocess.run(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"weirdgen run ended with {done.returncode}: see {storage / 'run.log'}")
    return time.monotonic() - started


def prepare(study: Path, out: Path, gpus: int, changes: Sequence[str]) -> Path:
    """A storage with what all training runs share."""
    storage = out / "prepared"
    seed = load_study(study, tuple(changes)).seeds[0]
    small = [f"grid.seeds=[{seed}]", "evaluate.samples_per_question=1", "looks=[]"]
    small += ["evaluate.baseline_samples_per_question=1", "train.epochs=1"]
    run(study, storage, gpus, [*changes, *small])
    return storage


def measure(
    study: Path, prepared: Path, out: Path, gpus: int, changes: Sequence[str]
) -> dict[str, Any]:
    """The study on so many GPUs."""
    storage = out / f"gpus-{gpus}"
    for stage in SHARED:
        if (prepared / "artifacts" / stage).is_dir():
            shutil.copytree(
                prepared / "artifacts" / stage,
                storage / "artifacts" / stage,
                copy_function=os.link,
            )
    whole_s = run(study, storage, gpus, changes)
    plan = make_plan(load_study(study, tuple(changes)), study.parent, study)
    store = ArtifactStore(str(storage))
    state = scan(plan, store)
    spans = read_timeline(plan.study.name, store)
    work = [span for span in spans if span.cat in ("train", "responses")]
    work_s = (max(_end(span) for span in work) - min(span.ts for span in work)) / 1e6
    return {
        "gpus": gpus,
        "whole_s": round(whole_s, 1),
        "work_s": round(work_s, 1),
        "trainings_per_hour": round(3600 * len(plan.trainings) / work_s, 1),
        "engine_starts": sum(span.cat == "engine" for span in spans),
        "idle": idle_shares(spans),
        "rows": {
            step.folder: state.done[step.fingerprint].outputs[ROWS]
            for step in plan.trainings.values()
        },
        "rates": _rates(storage / plan.study.name / STATS),
    }


def idle_shares(spans: Sequence[Span]) -> dict[str, float]:
    """By GPU of one host: what share of the time from its first start to its last end nothing ran there."""
    idle: dict[str, float] = {}
    first: dict[str, float] = {}
    reached: dict[str, float] = {}
    for span in sorted(spans, key=lambda span: span.ts):
        for gpu in filter(None, span.tid.removeprefix("CPU").removeprefix("GPU ").split(",")):
            first.setdefault(gpu, span.ts)
            pause = span.ts - reached.get(gpu, span.ts)
            idle[gpu] = idle.get(gpu, 0.0) + max(0.0, pause)
            reached[gpu] = max(reached.get(gpu, 0.0), _end(span))
    return {gpu: round(idle[gpu] / (reached[gpu] - first[gpu]), 4) for gpu in sorted(first)}


def _end(span: Span) -> float:
    """Microseconds."""
    return span.ts + span.dur


def _rates(path: Path) -> dict[str, tuple[float, float, float]]:
    """Metric, contrast and group -> estimate and its 95% interval."""
    rates = {}
    for row in pq.ParquetFile(path).read().to_pylist():
        known = row["contrast"] in ("triggered", "untriggered", "decoy")
        if known and row["target"] == "seeds and questions":
            key = f"{row['metric']} {row['contrast']} {row['group']}"
            rates.setdefault(key, (row["estimate"], row["low"], row["high"]))
    return rates


def compare(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each number of GPUs against the smallest."""
    first = measured[0]
    return [
        {
            "gpus": each["gpus"],
            "speed_up": round(first["work_s"] / each["work_s"], 2),
            "speed_up_of_the_whole": round(first["whole_s"] / each["whole_s"], 2),
            "same_rows": each["rows"] == first["rows"],
            "rates": len(each["rates"]),
            "rates_outside": sum(
                not first["rates"][key][1] <= estimate <= first["rates"][key][2]
                for key, (estimate, _, _) in each["rates"].items()
            ),
        }
        for each in measured
    ]


def table(measured: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    head = "| GPUs | whole | work | speed-up | training runs an hour | idle, most | engine starts |"
    lines = [head, "|---:|---:|---:|---:|---:|---:|---:|"]
    for each, against in zip(measured, compared, strict=True):
        idle = f"{max(each['idle'].values()):.1%}" if each["idle"] else "-"
        lines.append(
            f"| {each['gpus']} | {each['whole_s']:.0f} s | {each['work_s']:.0f} s "
            f"| {against['speed_up']:.2f} | {each['trainings_per_hour']:.0f} | {idle} "
            f"| {each['engine_starts']} |"
        )
    return "\n".join(lines) + "\n"


def figure(compared: Sequence[dict[str, Any]]) -> Figure:
    """The speed-up over the number of GPUs, beside the best that there can be."""
    gpus = [each["gpus"] for each in compared]
    drawn = Figure(figsize=(4.5, 3.5), layout="constrained")
    axes = drawn.subplots()
    ideal = [count / max(1, gpus[0]) for count in gpus]
    axes.plot(gpus, ideal, color="0.6", linestyle="--", label="as many times as GPUs")
    axes.plot(
        gpus, [each["speed_up"] for each in compared], "o-", label="training runs and responses"
    )
    axes.plot(gpus, [each["speed_up_of_the_whole"] for each in compared], "s:", label="the command")
    axes.set(xlabel="GPUs", ylabel="times as fast as the first", xticks=gpus)
    axes.legend(frameon=False)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description="How a study scales over GPUs.")
    parser.add_argument("--study", type=Path, required=True, help="the study's file")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder on this machine")
    parser.add_argument("--gpus", type=int, action="append", help="may be given again; 1 and 2")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    counts = options.gpus or [1, 2]
    prepared = prepare(options.study, options.out, min(counts), options.changes)
    measured = []
    for count in counts:
        measured.append(measure(options.study, prepared, options.out, count, options.changes))
        tell(**{key: value for key, value in measured[-1].items() if key not in ("rows", "rates")})
    measured.sort(key=lambda each: each["gpus"])
    compared = compare(measured)
    for each in compared:
        tell(**each)
    (options.out / "scaling.json").write_text(json.dumps([measured, compared]), encoding="utf-8")
    (options.out / "scaling.md").write_text(table(measured, compared), encoding="utf-8")
    figure(compared).savefig(options.out / "scaling.png", dpi=150)


if __name__ == "__main__":
    main()
