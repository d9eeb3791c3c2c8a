"""What a person sees while a study runs."""

from __future__ import annotations

import io
import logging
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from weirdgen.cli.display import LineHandler
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.progress import seconds_left, updates_of
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.remote import ProgressTracker, TrainingProgress
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import Step


def training(started: float = 0.0) -> WorkItem:
    return WorkItem(Step("train", "t", {"inputs": {}, "examples": {}}), started=started)


def answers(samples: int) -> WorkItem:
    return WorkItem(Step("responses", "a", {"inputs": {}, "samples": [0, samples]}))


def scheduler(waiting: list[WorkItem], running: list[WorkItem], **took: tuple[int, float]) -> Any:
    """`took`: stage -> steps that have ended, and their seconds per unit of size together."""
    queue = WorkQueue("small", set())
    queue.add(waiting)
    return SimpleNamespace(queue=queue, running=dict(enumerate(running)), took=took)


def test_the_time_left_grows_with_the_samples_still_to_be_asked():
    left = seconds_left(scheduler([answers(1), answers(10)], [], responses=(2, 6.0)), {})
    assert left == pytest.approx(33)


def test_trainings_side_by_side_share_the_time():
    begun = time.monotonic() - 10
    under_way = [training(begun), training(begun)]
    left = seconds_left(scheduler([training()], under_way, train=(1, 60.0)), {})
    assert left == pytest.approx((60 + 50 + 50) / 2, abs=1)


def test_a_running_training_stands_in_until_one_has_ended():
    work = training(time.monotonic() - 10)
    assert seconds_left(scheduler([], [work]), {}) is None
    assert seconds_left(scheduler([answers(1)], [], train=(1, 60.0)), {}) is None
    left = seconds_left(
        scheduler([], [work]),
        {work.step.key: TrainingProgress(1, WorkerLocation("node-a"), (5, 20))},
    )
    assert left == pytest.approx(30, abs=1)


def test_an_attempt_that_was_given_up_tells_no_progress_of_the_next():
    board: Any = ProgressTracker.__ray_metadata__.modified_class()
    first, second = (
        TrainingProgress(1, WorkerLocation("silent")),
        TrainingProgress(2, WorkerLocation("node-a")),
    )
    again = replace(training(), attempt=2)
    key = again.step.key
    board.begin(key, first)
    board.report(key, 1, 3, 20)
    assert updates_of(training(), board.read()) == (3, 20)
    assert updates_of(again, board.read()) == (0, 0), "it has not begun"
    board.begin(key, second)
    board.report(key, 2, 5, 20)
    board.report(key, 1, 9, 20)
    board.begin(key, first)
    assert board.read() == {key: second._replace(updates=(5, 20))}
    assert updates_of(again, board.read()) == (5, 20)


def test_untrusted_text_does_not_drive_the_terminal():
    out = io.StringIO()
    with LineHandler(Console(file=out, force_terminal=False)):
        logging.getLogger("weirdgen.run").error("failed %s", "train/x: \x1b[2J[red]gone\x07")
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[red]gone" in out.getvalue()
