"""What a person sees while a study runs."""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from studies import small_study, study_of

import weirdgen.cli.display as display
from weirdgen.cli.display import LineHandler, LiveHandler, display_on
from weirdgen.cli.main import main
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import StudyState
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


RUN_LOG = logging.getLogger("weirdgen.run")


@pytest.fixture
def package_level() -> Iterator[None]:
    package = logging.getLogger("weirdgen")
    before = package.level
    yield
    package.setLevel(before)


@pytest.fixture
def under_way(tiny_model: Path) -> Any:
    """A study that runs its first training, the third of its updates done, with the second waiting."""
    plan = make_plan(study_of(small_study(tiny_model)), Path())
    first, second = (WorkItem(step) for step in plan.trainings.values())
    first.started = time.monotonic() - 10
    fake = scheduler([second], [first], train=(1, 30.0))
    fake.state, fake.failures = StudyState(plan), []
    reported = TrainingProgress(1, WorkerLocation("node-a", "3"), (4, 12))
    fake.progress = lambda: {first.step.key: reported}
    return fake


def test_events_are_lines_after_the_time_for_the_display_and_for_handlers_of_ones_own():
    out, own = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(own)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    RUN_LOG.addHandler(handler)
    with display_on(Console(file=out, force_terminal=False)):
        RUN_LOG.getChild("queue").warning("retry train/x: killed")
    RUN_LOG.removeHandler(handler)
    RUN_LOG.warning("after the end")
    assert out.getvalue() == "0:00  retry train/x: killed\n"
    assert own.getvalue() == "WARNING weirdgen.run.queue retry train/x: killed\n"


@pytest.mark.parametrize(("level", "shown"), [("info", 2), ("warning", 1), ("error", 0)])
def test_the_log_level_says_which_events_are_shown(level: str, shown: int, package_level: None):
    assert CliRunner().invoke(main, ["--log-level", level, "run", "--help"]).exit_code == 0
    out = io.StringIO()
    with display_on(Console(file=out, force_terminal=False)):
        RUN_LOG.info("started train/x")
        RUN_LOG.getChild("queue").warning("retry train/x: killed")
    assert len(out.getvalue().splitlines()) == shown


def test_without_a_terminal_there_is_a_summary_once_a_minute(
    under_way: Any, monkeypatch: pytest.MonkeyPatch
):
    out = io.StringIO()
    with display_on(Console(file=out, force_terminal=False)) as shown:
        assert type(shown) is LineHandler
        shown.update(under_way)
        assert out.getvalue() == ""
        monkeypatch.setattr(display, "SUMMARY_S", 0.0)
        shown.update(under_way)
    assert re.fullmatch(r"0:00  train 0/2; elapsed 0:00, about 0:(49|50) left\n", out.getvalue())


def test_a_terminal_has_a_table_of_the_stages_and_what_runs(under_way: Any):
    out = io.StringIO()
    with display_on(Console(file=out, force_terminal=True, width=200)) as shown:
        assert type(shown) is LiveHandler
        shown.update(under_way)
    printed = out.getvalue()
    assert "to do" in printed
    assert re.search(r"train +0 +1 +0 +1", printed)
    assert "0:10  update 4 of 12  on node-a, GPU 3" in printed
    assert "about 0:50 left" in printed or "about 0:49 left" in printed
