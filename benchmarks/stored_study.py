"""A study with what a storage holds of it, for benchmarks that do the same work in other ways."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from weirdgen.config.loading import load_study
from weirdgen.data.chat import Messages
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.run_step import RunningStep, Task
from weirdgen.pipeline.stages.responses import ResponseSet, response_requests, samples_step
from weirdgen.storage.artifacts import ArtifactStore, Step


class Stored(NamedTuple):
    """A study's plan, and the storage."""

    plan: Plan
    store: ArtifactStore

    def task(self, step: Step) -> Task:
        """The step with the steps that it consumes."""
        steps = self.plan.by_fingerprint
        return Task(step, {role: steps[needed] for role, needed in step.inputs.items()})

    def running(self, task: Task) -> RunningStep:
        """The step with the folders of what it consumes. Ends the program where one is not there."""
        folders = {}
        for role, step in task.inputs.items():
            manifest = self.store.manifest(step)
            if manifest is None:
                raise SystemExit(f"{step.key} is not in {self.store.uri}")
            folders[role] = self.store.payload(step, manifest)
        return RunningStep(task.step, folders, Path(os.devnull))

    def responses_task(self, asked: ResponseSet) -> Task:
        """The step of all responses that `asked` wants."""
        return self.task(samples_step(asked.step, 0, asked.samples))

    def conversations(self, asked: ResponseSet) -> list[tuple[Messages, int]]:
        """All conversations that `asked` wants responses to, each with its seed, in the study's order."""
        task = self.responses_task(asked)
        questions = replace(task, inputs={"questions": task.inputs["questions"]})
        requests = response_requests(self.running(questions))
        return [(request.messages, request.seed) for *_, request in requests]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What names a study and its storage."""
    parser.add_argument("--study", type=Path, required=True, help="the study's file")
    parser.add_argument("--storage", required=True, help="where its artifacts lie")


def stored(options: argparse.Namespace) -> Stored:
    """The study that `options` name."""
    study = load_study(options.study)
    return Stored(
        make_plan(study, options.study.parent, options.study), ArtifactStore(options.storage)
    )
